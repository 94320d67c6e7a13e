"""Rigid motion between the shots of an MR scan, known after the fact."""

import math
from typing import Literal

import torch
from pydantic import Field

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings
from rsd_med.corruptions.imaging import OperatorCorruption
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
        return KSpaceMotion(self.shots, order=self.order, shift=self.shift, rotation=self.rotation, sigma=self.sigma)


class KSpaceMotion(OperatorCorruption):
    """y = F^H sum_s M_s T_s F R_s x + sigma e with a random pose for every shot but one.

    The shot that measures the centre of k-space, where most of the signal is, stays where it is: a pose that all shots
    share would be no artefact, but another image.

    Parameters
    ----------
    shots, order, shift, rotation, sigma
        As in `KSpaceMotionSettings`.
    """

    def __init__(
        self, shots: int = 8, *, order: Order = "sequential", shift: float = 2.0, rotation: float = 0.0,
        sigma: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(sigma)
        self.shots = shots
        self.order = order
        self.shift = shift
        self.rotation = rotation

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> ShotMotion:
        """Draw the poses of every item."""
        columns = torch.arange(size[1], device=draws.device)
        if self.shots > len(columns):
            msg = f"corruption.shots: {self.shots} shots are more than the {len(columns)} columns of k-space."
            raise ProtocolError(msg)
        shot = columns % self.shots if self.order == "interleaved" else columns * self.shots // len(columns)
        pose = 2 * draws.uniform(items, self.shots, 3) - 1
        pose[:, shot[len(columns) // 2]] = 0
        return ShotMotion(
            shot.expand(items, -1), self.shift * pose[..., :2], math.radians(self.rotation) * pose[..., 2]
        )
