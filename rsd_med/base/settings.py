"""The base of every settings class: strict, frozen, finite."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Typed settings of one component, kept beside its code.

    Unknown keys are refused, values are immutable, and infinities and NaN are no numbers.
    A component that is one of several kinds adds ``kind: Literal["its_name"] = "its_name"``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)
