"""The base of every settings class: strict, frozen, finite."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Typed settings of one component, kept beside its code.

    Unknown keys are refused, values are immutable, and infinities and NaN are no numbers. Every key has a
    ``description``, which the JSON schema shows to those who write a protocol.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


def _describe_kind(schema: dict[str, Any], settings: type[BaseModel]) -> None:
    """Describe the key ``kind`` by the first sentence of the class."""
    schema["properties"]["kind"]["description"] = (settings.__doc__ or "").strip().partition("\n\n")[0]


class KindSettings(Settings):
    """Settings of a part of which there are several kinds; see `rsd_med.base.kinds`.

    A sort of part has one subclass with an abstract ``build``; each kind of it is a subclass of that one and says
    ``kind: Literal["its_name"] = "its_name"``.
    """

    model_config = ConfigDict(json_schema_extra=_describe_kind)

    kind: str
