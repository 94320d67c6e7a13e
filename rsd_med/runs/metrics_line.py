"""A line of ``metrics.jsonl``: what its numbers are called, and what they mean."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class MetricsLine(BaseModel):
    """One line: the means since the line before (with ``loss``), or what an evaluation found (with ``proximal_fd``).

    Numbers that a stage does not have are left out. A number may be NaN, written so, where samples were not finite.
    """

    model_config = ConfigDict(extra="forbid")

    stage: Literal["teacher", "student", "reconstructor"] = Field(description="the stage")
    images: int = Field(ge=0, description="images seen by the stage so far, over all ranks")
    loss: float | None = Field(None, description="mean loss since the last line; of the student, the generator's")
    gradient_norm: float | None = Field(None, description="mean norm of its gradient, before it is scaled down")
    fake_loss: float | None = Field(None, description="mean loss of the fake score")
    fake_gradient_norm: float | None = Field(None, description="mean norm of its gradient")
    skipped: float | None = Field(None, description="steps since the last line that were left out: not finite")
    seconds: float | None = Field(None, description="seconds of the steps since the last line")
    images_per_second: float | None = Field(None, description="images a second of these steps")
    proximal_fd: float | None = Field(
        None, description="Fréchet distance of freshly corrupted samples to measurements; least is best"
    )
    energy_score: float | None = Field(
        None, description="of the reconstructor: how it predicts lines that it is not shown; least is best"
    )
    best_proximal_fd: float | None = Field(None, description="the least so far, whose weights are the student")
    diversity: float | None = Field(
        None, description="how much samples differ, in parts of the measurements' own: 1 as they, 0 collapsed"
    )
    gap: float | None = Field(None, description="how far teacher and fake score disagree, in parts of their error")
    fixed_fake_loss: float | None = Field(None, description="the fake score's loss on samples, at fixed draws")
    fixed_teacher_loss: float | None = Field(None, description="the teacher's on the same")
    fd: float | None = Field(None, description="Fréchet distance of the samples to clean images")
    kid: float | None = Field(None, description="kernel distance to clean images")
    precision: float | None = Field(None, description="share of samples that lie among clean images")
    recall: float | None = Field(None, description="share of clean images that lie among samples")
    density: float | None = Field(None, description="how crowded the clean images around a sample are; 1: as they are")
    coverage: float | None = Field(None, description="share of clean images that have a sample nearby")
    spectrum_deviation: float | None = Field(
        None, description="largest departure of the samples' power spectrum from that of clean images, in parts of it"
    )
    air: float | None = Field(None, description="brightness of the air, in parts of the peak, where images show air")
    evaluation_seconds: float | None = Field(None, description="seconds that the evaluation took")


def metrics_table() -> str:
    """Return the numbers of a line and what they mean, as the table of docs/run_folder.md."""
    rows = (f"| `{name}` | {field.description} |" for name, field in MetricsLine.model_fields.items())
    return "\n".join(["| key | means |", "|---|---|", *rows])


def metrics_json_schema() -> dict[str, Any]:
    """Return the JSON schema of a line, for tools that read it."""
    schema = MetricsLine.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "line of metrics.jsonl"}
