"""What an experiment is: one settings class per part, each kept beside the code it belongs to.

The kinds of a part are listed in the ``kinds.py`` of its room.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from rsd_med.base.settings import Settings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions.base import CorruptionSettings
from rsd_med.corruptions.kinds import CORRUPTIONS
from rsd_med.corruptions.multicoil_fourier import UndersamplingSettings
from rsd_med.data.kinds import SOURCES
from rsd_med.data.source import SourceSettings
from rsd_med.diffusion.backbones.base import BackboneSettings
from rsd_med.diffusion.denoiser import DiffusionSettings
from rsd_med.diffusion.kinds import BACKBONES
from rsd_med.evaluation.evaluation import EvaluationSettings
from rsd_med.teachers.augmentation import AugmentationSettings
from rsd_med.training.reconstructor_stage import ReconstructorSettings
from rsd_med.training.settings import EngineSettings
from rsd_med.training.student_stage import StudentSettings
from rsd_med.training.teacher_stage import TeacherSettings

StageName = Literal["teacher", "student", "reconstructor"]


class ProtocolEvaluationSettings(EvaluationSettings):
    """What is measured at the end of a run, and against which clean images."""

    reference: Annotated[SourceSettings, SOURCES] | None = Field(
        None, description="clean data for evaluation alone; null: proximal distance only"
    )


class Protocol(Settings):
    """An experiment: data and their corruption, networks, stages of training, evaluation."""

    schema_version: Literal[1] = Field(description="the version of this vocabulary")
    name: str = Field(
        min_length=1,
        max_length=80,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="letters, digits, . _ and -; names the run folder",
    )
    description: str = Field(
        "",
        max_length=200,
        description="what the training data show, in plain words: anatomy, contrast, how they were scanned; stands in "
        "the model card, and in the app beside all that the run's networks make",
    )
    seed: NonNegativeInt = Field(0, description="every random draw of the run derives from it")
    data: Annotated[SourceSettings, SOURCES] = Field(description="where the training data come from")
    calibration: CalibrationSettings = Field(
        default_factory=CalibrationSettings, description="from raw scans to measurements"
    )
    corruption: Annotated[CorruptionSettings, CORRUPTIONS] = Field(
        description="what happened to the data, or is done to them"
    )
    backbone: Annotated[BackboneSettings, BACKBONES] = Field(
        description="the network that teacher, fake score and generator share"
    )
    augmentation: AugmentationSettings | None = Field(
        None, description="of what teacher and fake score learn from; null: none"
    )
    diffusion: DiffusionSettings = Field(default_factory=DiffusionSettings, description="preconditioning")
    teacher: TeacherSettings = Field(description="phase I")
    student: StudentSettings = Field(description="phase II")
    reconstructor: ReconstructorSettings | None = Field(
        None, description="a stage of its own: a network that reconstructs scans in one call; null: none"
    )
    evaluation: ProtocolEvaluationSettings = Field(
        default_factory=ProtocolEvaluationSettings, description="what is measured at the end"
    )
    engine: EngineSettings = Field(default_factory=EngineSettings, description="how the run is carried out")

    @property
    def stages(self) -> tuple[StageName, ...]:
        """What is trained, in this order; the reconstructor comes first where the teacher learns from its images."""
        if self.teacher.objective.after_reconstructor:
            return ("reconstructor", "teacher", "student")
        return ("teacher", "student", *(() if self.reconstructor is None else ("reconstructor",)))

    def needed_for(self, stage: StageName) -> tuple[StageName, ...]:
        """Return the stages that must be at their end before one can begin."""
        if stage == "reconstructor":
            starts = self.reconstructor is not None and self.reconstructor.start == "teacher"
            return ("teacher",) if starts else ()
        first: tuple[StageName, ...] = ("reconstructor",) if self.teacher.objective.after_reconstructor else ()
        return first if stage == "teacher" else (*first, "teacher")

    @model_validator(mode="after")
    def _reconstructor_comes_first(self) -> Self:
        learns = self.reconstructor
        if self.teacher.objective.after_reconstructor and (learns is None or learns.start == "teacher"):
            raise ValueError(
                "teacher.objective: completed learns from what the run's reconstructor makes of the scans: add a "
                "section reconstructor with images, its length, and start: fresh, or name a run that has one "
                "(teacher.objective.reconstructor)"
            )
        return self

    @property
    def acs_lines(self) -> int | None:
        """Central lines that the scale of a training scan is taken from; None where calibration chooses."""
        return self.corruption.acs_lines if isinstance(self.corruption, UndersamplingSettings) else None
