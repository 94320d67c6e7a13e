"""Rigid motion between the shots of an MR scan, known after the fact."""

import math
from typing import Literal

import torch
from pydantic import Field

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption
from rsd_med.operators.motion import ShotMotion

Order = Literal["sequential", "interleaved"]


class KSpaceMotionSettings(CorruptionSettings):
    """A patient who moves between the groups of k-space columns (shots) of a single-coil scan."""

    kind: Literal["kspace_motion"] = "kspace_motion"
    shots: int = Field(8, ge=2, description="number of groups, each measured in one pose")
    order: Order = Field(
        "sequential",
        description="`sequential`: a shot is a block of neighbouring columns; `interleaved`: every shots-th column",
    )
    shift: float = Field(
        2.0, ge=0, description="the displacement along each axis is uniform between plus and minus this many pixels"
    )
    rotation: float = Field(
        0.0, ge=0, le=45, description="the turn is uniform between plus and minus this many degrees"
    )
    sigma: float = Field(
        0.0,
        ge=0,
        description="standard deviation per real component of noise that is added to the image, in scaled units",
    )

    def build(self) -> "KSpaceMotion":
        """Return the corruption."""
        return KSpaceMotion(self)


class KSpaceMotion(ImageCorruption):
    """y = F^H sum_s M_s T_s F R_s x + sigma e with a random pose for every shot but one.

    The shot that measures the centre of k-space, where most of the signal is, stays where it is: a pose that all shots
    share would be no artefact, but another image.
    """

    def __init__(self, settings: KSpaceMotionSettings) -> None:
        super().__init__(settings.sigma)
        self.settings = settings

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> ShotMotion:
        """Draw the poses of every item."""
        settings, columns = self.settings, torch.arange(size[1], device=draws.device)
        if settings.shots > len(columns):
            raise ProtocolError(
                f"corruption.shots: {settings.shots} shots are more than the {len(columns)} columns of k-space."
            )
        interleaved = settings.order == "interleaved"
        shot = columns % settings.shots if interleaved else columns * settings.shots // len(columns)
        pose = 2 * draws.uniform(items, settings.shots, 3) - 1
        pose[:, shot[len(columns) // 2]] = 0
        shift, angle = settings.shift * pose[..., :2], math.radians(settings.rotation) * pose[..., 2]
        return ShotMotion(shot.expand(items, -1), shift, angle)
