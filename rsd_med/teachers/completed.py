"""Denoising score matching on scans that a reconstructor has completed (expectation maximisation)."""

from typing import Literal

from pydantic import Field

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.corruptions.none import NoCorruption
from rsd_med.teachers.base import ObjectiveSettings
from rsd_med.teachers.denoising import Denoising


class CompletedSettings(ObjectiveSettings):
    """A teacher of whole images, which the reconstructor has made of the undersampled scans."""

    completes = True

    kind: Literal["completed"] = "completed"
    reconstructor: str | None = Field(
        None,
        description="folder of a finished run whose reconstructor completes the scans; null: this run's own, which is "
        "trained first",
    )
    mirror: bool = Field(
        False,
        description="whether mirror images, left and right exchanged, are learned from, too: for anatomy that is as "
        "likely either way",
    )

    @property
    def after_reconstructor(self) -> bool:
        """Whether the run's own reconstructor completes the scans."""
        return self.reconstructor is None

    def build(self, corruption: Corruption) -> "Completed":
        """Build the objective; ProtocolError where the corruption is none that a reconstructor undoes."""
        if not isinstance(corruption, MultiCoilUndersampling):
            raise ProtocolError(
                "teacher.objective: completed learns from undersampled k-space that a reconstructor completes; set "
                "corruption.kind to multicoil_fourier or fourier, or choose another objective."
            )
        return Completed(NoCorruption(), self.levels)


class Completed(Denoising):
    """``w(σ) ‖D(x̂ + σn; σ) − x̂‖²`` with x̂ what the reconstructor makes of a scan.

    One round of expectation maximisation (Rozet et al. 2024, arXiv 2405.13712): the reconstructor, learned from the
    scans alone, stands for the posterior, and the teacher learns the law of what it says. So teacher and fake score see
    whole images, and nothing is hidden from them. What the reconstructor has got wrong, or left soft, they learn, too.
    """
