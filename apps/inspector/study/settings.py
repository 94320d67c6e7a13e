"""What a reader study is: ``study.yaml`` as typed data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")]
"""Of arms, cases and readers. Never a person's name: these stand in files and exports."""
Text = Annotated[str, Field(min_length=1, max_length=500)]

EQUAL = "equal"
REAL, SYNTHETIC = "real", "synthetic"


class PreferenceSettings(Settings):
    """Two images of one case side by side, and which one is better.

    With more than two arms, every pair of every case is shown.

    Attributes
    ----------
    prompt
        The question as it stands above the images.
    allow_equal
        Whether "no difference" is an answer; a forced choice otherwise.
    """

    kind: Literal["preference"] = "preference"
    prompt: Text = "Which image would you rather read?"
    allow_equal: bool = False


class RealOrSyntheticSettings(Settings):
    """One image at a time, and whether it is a real scan or made by a model.

    Attributes
    ----------
    real
        The arm whose images are real; all others are synthetic.
    prompt
        The question.
    """

    kind: Literal["real_or_synthetic"] = "real_or_synthetic"
    real: Name
    prompt: Text = "Is this image real, or was it made by a model?"


class RankingSettings(Settings):
    """All arms of a case side by side: order them from best to worst.

    Attributes
    ----------
    prompt
        The question.
    """

    kind: Literal["ranking"] = "ranking"
    prompt: Text = "Rank the images from 1 (best)."


class CaseSettings(Settings):
    """One case: the same anatomy in every arm.

    Attributes
    ----------
    id
        What it is called in exports; readers never see it.
    images
        For each arm a file below the folder of ``study.yaml``: ``.npy`` (y, x) or (z, y, x), or NIfTI. ``name.npy#7``
        is item 7 (from 0) of an array (n, y, x) or (n, channel, y, x); two channels are real and imaginary part.
    reference
        A further image shown above the others, named as such; none by default.
    """

    id: Name
    images: dict[Name, Text] = Field(min_length=1, max_length=6)
    reference: Text | None = None


class StudySettings(Settings):
    """A reader study.

    Attributes
    ----------
    schema_version
        Of this layout.
    name
        Of the study, in exports.
    title
        What readers see above; it should give nothing away.
    instructions
        What readers read before they begin.
    question
        What is asked.
    arms
        Names of what is compared.
    cases
        What is shown.
    readers
        Pseudonyms of who answers; with logins, their login names.
    seed
        Of order and sides; both also depend on reader and case.
    repeats
        Share of the trials that are shown a second time, for the agreement of readers with themselves.
    window
        Values shown black and white, one for all images.
    unit
        Of the values.
    spacing_mm
        (z, y, x), where the files do not say it.
    confidence
        Whether to ask how sure the reader is, from 1 to 5.
    comments
        Whether readers may write a comment.
    """

    schema_version: Literal[1] = 1
    name: Name
    title: Text = "Reader study"
    instructions: str = Field(default="", max_length=4000)
    question: PreferenceSettings | RealOrSyntheticSettings | RankingSettings = Field(discriminator="kind")
    arms: tuple[Name, ...] = Field(min_length=1, max_length=6)
    cases: tuple[CaseSettings, ...] = Field(min_length=1, max_length=2000)
    readers: tuple[Name, ...] = Field(min_length=1, max_length=100)
    seed: int = Field(default=0, ge=0, lt=2**63)
    repeats: float = Field(default=0.15, ge=0, le=0.5)
    window: tuple[float, float]
    unit: str = Field(default="", max_length=20)
    spacing_mm: tuple[float, float, float] | None = None
    confidence: bool = True
    comments: bool = True

    @field_validator("window")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError("must be two rising numbers: what is shown black, what is shown white")
        return value

    @field_validator("spacing_mm")
    @classmethod
    def _positive(cls, value: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("must be three positive numbers, (z, y, x)")
        return value

    @field_validator("arms", "readers")
    @classmethod
    def _all_different(cls, value: Sequence[str]) -> Sequence[str]:
        # Names become file names, and not every file system tells upper from lower case.
        if len({name.lower() for name in value}) < len(value):
            raise ValueError("holds a name twice (upper and lower case are the same)")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "StudySettings":
        names = [case.id for case in self.cases]
        if len(set(names)) < len(names):
            raise ValueError("cases: holds an id twice")
        kind = self.question.kind
        if kind != "real_or_synthetic" and len(self.arms) < 2:
            raise ValueError(f"arms: a {kind} study compares at least two")
        if EQUAL in self.arms:
            raise ValueError(f"arms: `{EQUAL}` is an answer and cannot be the name of an arm")
        for case in self.cases:
            unknown = sorted(set(case.images) - set(self.arms))
            if unknown:
                raise ValueError(f"cases: {case.id} has an image of `{unknown[0]}`, which is none of the arms")
            missing = sorted(set(self.arms) - set(case.images))
            if missing and kind != "real_or_synthetic":
                raise ValueError(f"cases: {case.id} has no image of `{missing[0]}`")
        if isinstance(self.question, RealOrSyntheticSettings) and self.question.real not in self.arms:
            raise ValueError(f"question: real names `{self.question.real}`, which is none of the arms")
        return self


def read_study(path: Path) -> StudySettings:
    """Read ``study.yaml``.

    Raises
    ------
    ProtocolError
        If it cannot be read, or says something that a study cannot be.
    """
    from rsd_med.protocol.checking import check  # here: the protocol brings torch, and most servers have no study
    from rsd_med.protocol.yaml_text import read_yaml

    settings = check(StudySettings, read_yaml(path), path.name)
    for case in settings.cases:
        for name in (*case.images.values(), *([case.reference] if case.reference else [])):
            locate(path, name)
    return settings


def locate(study: Path, name: str) -> Path:
    """Return the file an image names.

    Raises
    ------
    ProtocolError
        If it is not there, or outside the study's folder: a study can be moved whole, and reads nothing else.
    """
    folder = study.parent.resolve()
    file = (folder / name.rpartition("#")[0] if "#" in name else folder / name).resolve()
    if not file.is_relative_to(folder):
        raise ProtocolError(f"{study.name}: {name} lies outside the study's folder; copy the image into it")
    if not file.is_file():
        raise ProtocolError(f"{study.name}: there is no file {name}")
    return file
