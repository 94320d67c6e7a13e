"""When a distillation counts as lost: the limits, and what reads the figures of every evaluation."""

import math
from collections.abc import Mapping

from pydantic import Field, PositiveInt

from rsd_med.base.settings import Settings


class EarlyStoppingSettings(Settings):
    """When a distillation counts as lost; asked at every evaluation, so that ``evaluate_every`` must be set."""

    patience: PositiveInt = Field(3, description="evaluations in a row that one of the limits below must be passed")
    distance: float = Field(10, gt=1, description="proximal distance, in multiples of the smallest so far")
    fake_loss: float = Field(10, gt=1, description="fixed_fake_loss, in multiples of fixed_teacher_loss")
    diversity: float = Field(0.1, ge=0, lt=1, description="diversity, in shares of the largest so far, or of 1")


class EarlyStopping:
    """Reads the figures of one evaluation after the other, and says when a distillation is lost.

    Diverged: the proximal distance, or the fake score's loss beside the teacher's, is past its limit. Collapsed: the
    generations have stopped differing, although they did; a generator that starts from its teacher has little diversity
    and gains it, so that its beginning is no collapse. Diversity above that of the data counts as that of the data.
    """

    def __init__(self, settings: EarlyStoppingSettings) -> None:
        self.settings = settings
        self.largest_diversity: float | None = None
        self.in_a_row = {"distance": 0, "fake_loss": 0, "diversity": 0}

    def read(self, figures: Mapping[str, float], images: int) -> str | None:
        """Return why the distillation must stop after ``images`` images: what, where, what to do; None to go on."""
        lost = [name for name, value in figures.items() if not math.isfinite(value)]
        if lost:
            return _sentence(f"{', '.join(lost)} of the generations are no longer finite numbers", images, True)
        passed = self._passed(figures)
        for name in self.in_a_row:
            self.in_a_row[name] = self.in_a_row[name] + 1 if name in passed else 0
        for name, what in passed.items():
            if self.in_a_row[name] >= self.settings.patience:
                return _sentence(f"{what} in {self.in_a_row[name]} evaluations in a row", images, name != "diversity")
        return None

    def _passed(self, figures: Mapping[str, float]) -> dict[str, str]:
        """Return the limits that these figures pass, each in words; a collapse, which passes others too, is first."""
        passed = {}
        limits = self.settings
        if "diversity" in figures:
            diversity, largest = figures["diversity"], self.largest_diversity
            self.largest_diversity = min(1.0, diversity if largest is None else max(largest, diversity))
            if diversity < limits.diversity * self.largest_diversity:
                passed["diversity"] = (
                    f"the generations hardly differed (diversity {diversity:.2g} after {self.largest_diversity:.2g})"
                )
        distance, best = figures["proximal_fd"], figures["best_proximal_fd"]
        if distance > limits.distance * best:
            passed["distance"] = f"the proximal distance ({distance:.3g}) was far from its best ({best:.3g})"
        if "fixed_fake_loss" in figures:
            fake, teacher = figures["fixed_fake_loss"], figures["fixed_teacher_loss"]
            if fake > limits.fake_loss * teacher:
                passed["fake_loss"] = f"the fake score's loss ({fake:.3g}) was far above the teacher's ({teacher:.3g})"
        return passed

    def state(self) -> dict[str, float | int | None]:
        """Return what a resumed run needs."""
        return {"largest_diversity": self.largest_diversity} | {f"{name}_limit": n for name, n in self.in_a_row.items()}

    def load_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what ``state`` returned."""
        self.largest_diversity = state["largest_diversity"]
        self.in_a_row = {name: int(state[f"{name}_limit"] or 0) for name in self.in_a_row}


def _sentence(what: str, images: int, diverged: bool) -> str:
    return (
        f"student: the distillation has {'diverged' if diverged else 'collapsed'}: {what}, {images:,} images in; lower "
        "student.generator.learning_rate or raise student.fake_steps; the best student so far is kept "
        "(student.early_stopping sets these limits, and null lifts them)."
    )
