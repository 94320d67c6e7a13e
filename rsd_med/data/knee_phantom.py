"""Simulated multi-coil scans of knees: data for the quickstart and the tests, drawn when asked for, never stored."""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.data.coils import birdcage_maps, smooth_phase
from rsd_med.data.knee_anatomy import Weighting, draw_knee
from rsd_med.data.scan import Geometry, Scan
from rsd_med.data.source import Source, SourceSettings
from rsd_med.operators.fourier import fft2c
from rsd_med.operators.noise import complex_or_real_noise

FIELD_OF_VIEW_MM = 160.0


class KneePhantomSettings(SourceSettings):
    """Simulated multi-coil scans of knees, fully sampled, with the coil maps of a calibration scan."""

    kind: Literal["knee_phantom"] = "knee_phantom"
    num_images: int = Field(1000, ge=1, description="how many scans the source holds")
    size: int = Field(32, ge=8, le=1024, description="side of the square image in pixels")
    coils: int = Field(4, ge=1, le=128, description="number of receive coils")
    sigma: float = Field(
        0.005,
        ge=0,
        le=1,
        description="noise added to the k-space: standard deviation per real component, for images whose brightest "
        "tissue is about 1",
    )
    split: Literal["train", "test"] = Field(
        "train", description="training and test scans are drawn from different seeds, and share none"
    )
    weighting: Weighting = Field(
        "mixed", description='one weighting for every scan, as in a study of one sequence, or "mixed"'
    )
    partial_volume: float = Field(
        0.5,
        ge=0,
        le=10,
        description="blur of the anatomy in pixels (standard deviation), as from slices of some thickness",
    )
    supersample: int = Field(2, ge=1, le=4, description="each knee is drawn this many times finer and averaged")
    phase: float = Field(0.8, ge=0, le=10, description="root mean square of the smooth phase of the image, in radians")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "KneePhantom":
        """Return the source; nothing is read from ``base_dir``."""
        del base_dir
        return KneePhantom(self, seed)


class KneePhantom(Source):
    """Scans k = F S (m e^{iφ}) + noise of simulated knees m, each derived from (seed, split, index) alone."""

    def __init__(self, settings: KneePhantomSettings, seed: int = 0) -> None:
        self.settings = settings
        self.seed = seed

    def __len__(self) -> int:
        """Return the number of scans."""
        return self.settings.num_images

    def id(self, index: int) -> str:
        """Return the scan's name: the split and the number."""
        return f"knee_phantom_{self.settings.split}_{self._checked(index):06d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (coil, y, x)."""
        self._checked(index)
        return (self.settings.coils, self.settings.size, self.settings.size)

    def image(self, index: int) -> Tensor:
        """Return the clean magnitude of a knee, float32 (y, x), about 0 to 1: for tests and evaluation only."""
        settings = self.settings
        draw = self._generator("anatomy", index)
        return draw_knee(settings.size, draw, settings.supersample, settings.weighting, settings.partial_volume)

    def complex_image(self, index: int) -> Tensor:
        """Return the clean image with its phase, complex64 (y, x): for tests and evaluation only."""
        size = self.settings.size
        phase = smooth_phase((size, size), self._generator("phase", index), amplitude=self.settings.phase)
        return torch.polar(self.image(index), phase)

    def maps(self, index: int) -> Tensor:
        """Return the coil maps of a scan, complex64 (coil, y, x), Σ|S|² = 1."""
        size = self.settings.size
        return birdcage_maps(self.settings.coils, (size, size), self._generator("coils", index))

    def __getitem__(self, index: int) -> Scan:
        """Simulate one scan."""
        size, maps = self.settings.size, self.maps(index)
        kspace = fft2c(maps * self.complex_image(index))
        if self.settings.sigma > 0:
            kspace = kspace + complex_or_real_noise(kspace, self.settings.sigma, self._generator("noise", index))
        return Scan(
            id=self.id(index),
            kspace=kspace,
            acquired=torch.ones(size, dtype=torch.bool),
            maps=maps,
            geometry=Geometry(spacing_mm=(FIELD_OF_VIEW_MM / size, FIELD_OF_VIEW_MM / size)),
        )

    def _generator(self, part: str, index: int) -> Draws:
        return generator_for(self.seed, "knee_phantom", self.settings.split, part, self._checked(index))

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"Scan {index} of a source of {len(self)}.")
        return index
