"""A noise level that is stated, or found in the noisy images themselves."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import CorruptionSettings

Estimate = Literal["estimate"]


class LevelFound(Settings):
    """What an estimate of the noise rests on; a run writes it into its resolved protocol, beside the level."""

    error: float = Field(ge=0, description="standard error of the level by chance, in scaled units")
    images: int = Field(ge=1, description="how many noisy images were looked at")
    excess: float = Field(
        0.0, description="by how much the noise differs from its law, as a part of a moment of it; 0 is none"
    )
    clipped: float = Field(
        0.0, ge=0, le=1, description="part of the pixels that are cut off at the smallest or largest value"
    )


class NoiseLevelSettings(CorruptionSettings):
    """What corruptions share whose noise can be measured in the images: it is white where they are measured.

    ``sigma`` (of magnitudes: ``noise``) is the level that training assumes. It is a number or ``estimate``. With
    ``estimate`` the level is estimated from the noisy images once, before training, and written into the resolved
    protocol of the run.
    """

    level_field: ClassVar[str] = "sigma"
    where_files_carry_it: ClassVar[str] = ""

    simulated_sigma: float | None = Field(
        None,
        ge=0,
        description="noise that simulation adds to clean files, if it differs from the level that training assumes; "
        "null: that level",
    )
    estimated: LevelFound | None = Field(None, description="written by a run that has estimated its level")

    @property
    def level(self) -> float | Estimate:
        """Return the level that training assumes, or "estimate"."""
        level: float | Estimate = getattr(self, self.level_field)
        return level

    @property
    def assumed_sigma(self) -> float:
        """Return the level that training assumes.

        Raises
        ------
        ProtocolError
            If it has not been estimated yet.
        """
        if self.level == "estimate":
            raise ProtocolError(
                f"corruption.{self.level_field}: the noise has not been estimated yet; python -m rsd_med.train does, "
                "and states it in the run's protocol.resolved.yaml."
            )
        return self.level

    def assuming(self, level: float, estimate: LevelFound | None = None) -> Self:
        """Return the same corruption with another level told to training."""
        return self.model_copy(update={self.level_field: level, "estimated": estimate})

    @model_validator(mode="after")
    def _has_noise_to_look_at(self) -> Self:
        carried = getattr(self, "simulate", True) is False
        if carried and self.simulated_sigma is not None:
            raise ValueError("simulated_sigma adds noise to the files, and simulate: false adds none; drop one of them")
        if self.level == "estimate" and not carried and self.simulated_sigma is None:
            raise ValueError(
                f"{self.level_field}: estimate needs noisy images: state simulated_sigma, the noise that is added for "
                f"a study{self.where_files_carry_it}"
            )
        return self
