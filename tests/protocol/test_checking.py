"""Settings errors in the protocol's own words: the path of the key, what it must be, what it was."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt, field_validator, model_validator

from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.protocol.checking import check


class Noise(Settings):
    kind: Literal["noise"] = "noise"
    sigma: float = Field(gt=0)
    noise: int | None = None  # a key that is called like a kind


class Undersampling(Settings):
    kind: Literal["multicoil_fourier"] = "multicoil_fourier"
    acceleration: float = Field(4, ge=1)
    acs_lines: int = Field(24, ge=0, le=64)


class Student(Settings):
    alpha: float = Field(1.2, gt=0, lt=2)
    images: PositiveInt = 1000
    betas: tuple[float, float] = (0.0, 0.999)
    precision: Literal["float32", "bf16"] = "float32"
    further: PositiveInt | Literal["auto"] = "auto"
    ema: bool = True
    root: Path | None = None
    weights: dict[str, float] = {}

    @field_validator("images")
    @classmethod
    def _enough(cls, value: int) -> int:
        if value == 13:
            raise ValueError("13 images are too few to learn from; take 14")
        return value


class Experiment(Settings):
    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    corruption: Annotated[Noise | Undersampling, Field(discriminator="kind")]
    more: list[Annotated[Noise | Undersampling, Field(discriminator="kind")]] = []
    samplers: tuple[Student, ...] = Field((Student(),), min_length=1)
    student: Student | None = None

    @model_validator(mode="after")
    def _named(self) -> "Experiment":
        if self.name == "clash" and self.student:
            raise ValueError("name: `clash` has no student; leave it out")
        return self


GOOD = {"name": "x", "corruption": {"kind": "noise", "sigma": 0.2}}


def problems_of(**changes) -> str:
    values = {key: value for key, value in (GOOD | changes).items() if value is not ...}
    with pytest.raises(ProtocolError) as caught:
        check(Experiment, values, "p.yaml")
    return str(caught.value)


def test_good_values_pass():
    assert check(Experiment, GOOD, "p.yaml").corruption == Noise(sigma=0.2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"student": {"alpha": -1}}, "student.alpha: must be greater than 0 (got -1)"),
        ({"student": {"alpha": 2}}, "student.alpha: must be less than 2 (got 2)"),
        ({"student": {"alpha": float("nan")}}, "student.alpha: must be a finite number (got nan)"),
        ({"student": {"alpha": "much"}}, "student.alpha: must be a number (got 'much')"),
        ({"student": {"alpha": None}}, "student.alpha: must be a number (got null)"),
        ({"student": {"images": 1.5}}, "student.images: must be a whole number (got 1.5)"),
        ({"student": {"images": 0}}, "student.images: must be greater than 0 (got 0)"),
        ({"student": {"images": 13}}, "student.images: 13 images are too few to learn from; take 14"),
        ({"student": {"ema": 2}}, "student.ema: must be true or false (got 2)"),
        ({"student": {"betas": [0.5, "x"]}}, "student.betas.1: must be a number (got 'x')"),
        ({"student": {"betas": 0.5}}, "student.betas: must be a list, [a, b] (got 0.5)"),
        ({"student": {"betas": [1, 2, 3]}}, "student.betas: must have 2 or fewer items, not 3"),
        ({"student": {"precision": "fp8"}}, "student.precision: must be 'float32' or 'bf16' (got 'fp8')"),
        ({"student": {"further": "all"}}, "student.further: must be a whole number or 'auto' (got 'all')"),
        ({"student": {"further": 0}}, "student.further: must be greater than 0 or 'auto' (got 0)"),
        ({"student": {"root": 3}}, "student.root: must be a path (got 3)"),
        ({"student": {"weights": {"sid": "x"}}}, "student.weights.sid: must be a number (got 'x')"),
        ({"student": {"weights": [1]}}, "student.weights: must be a group of keys"),
        ({"student": 3}, "student: must be a group of keys (got 3)"),
        ({"student": {"alhpa": 1}}, "student.alhpa: there is no such key; did you mean `alpha`?"),
        (
            {"student": {"zzz": 1}},
            "student.zzz: there is no such key; known: alpha, images, betas, precision, further, ema",
        ),
        ({"Name": "x"}, "Name: there is no such key; did you mean `name`?"),
        ({"name": ...}, "name: is required"),
        ({"name": 1}, "name: must be text; put it in quotes (got 1)"),
        ({"name": ""}, "name: must have 1 or more characters (got '')"),
        ({"name": "clash", "student": {}}, "name: `clash` has no student; leave it out"),
        ({"schema_version": 2}, "schema_version: must be 1 (got 2)"),
        ({"corruption": {"sigma": 1}}, "corruption.kind: is required, one of: noise, multicoil_fourier"),
        (
            {"corruption": {"kind": "noize", "sigma": 1}},
            "corruption.kind: there is no kind `noize`; did you mean `noise`?; kinds: noise, multicoil_fourier",
        ),
        (
            {"corruption": "noise"},
            "corruption: must be a group of keys with a `kind`, one of: noise, multicoil_fourier",
        ),
        ({"corruption": {"kind": "noise", "sigma": 0}}, "corruption.sigma: must be greater than 0 (got 0)"),
        ({"corruption": {"kind": "noise"}}, "corruption.sigma: is required"),
        (
            {"corruption": {"kind": "noise", "sigma": 1, "noise": "x"}},
            "corruption.noise: must be a whole number (got 'x')",
        ),
        (
            {"corruption": {"kind": "noise", "sigma": 1, "acceleration": 4}},
            "corruption.acceleration: there is no such key; known: kind, sigma, noise",
        ),
        (
            {"corruption": {"kind": "multicoil_fourier", "acceleration": 0.5}},
            "corruption.acceleration: must be at least 1 (got 0.5)",
        ),
        (
            {"corruption": {"kind": "multicoil_fourier", "acs_lines": 65}},
            "corruption.acs_lines: must be at most 64 (got 65)",
        ),
        (
            {"more": [{"kind": "noise", "sigma": 1}, {"kind": "noise", "sgima": 1, "sigma": 1}]},
            "more.1.sgima: there is no such key; did you mean `sigma`?",
        ),
        ({"more": [{}]}, "more.0.kind: is required, one of: noise, multicoil_fourier"),
        ({"more": {}}, "more: must be a list, [a, b]"),
        ({"samplers": []}, "samplers: must have 1 or more items, not 0"),
        ({"samplers": [{"alpha": 0}]}, "samplers.0.alpha: must be greater than 0 (got 0)"),
        (
            {"corruption": {"kind": "multi"}},
            "corruption.kind: there is no kind `multi`; did you mean `multicoil_fourier`?",
        ),
    ],
)
def test_one_problem_is_one_sentence_with_the_path_of_the_key(changes, sentence):
    assert problems_of(**changes).startswith(f"p.yaml: {sentence}")
    assert "\n" not in problems_of(**changes)


def test_several_problems_are_all_listed():
    text = problems_of(student={"alpha": -1, "imges": 2}, name=...)
    lines = text.splitlines()
    assert lines[0] == "p.yaml: 3 things are wrong:"
    assert sorted(line.strip().split(":")[0] for line in lines[1:]) == ["name", "student.alpha", "student.imges"]


def test_a_flood_of_problems_is_cut():
    text = problems_of(**{f"key{i}": i for i in range(50)})
    assert len(text.splitlines()) == 22
    assert text.endswith("and 30 more")


def test_long_values_are_shortened():
    text = problems_of(student={"precision": "x" * 500})
    assert len(text) < 160
