"""Add a corruption.

A corruption is a distribution over operators. This one is a coil that hangs off centre: it sees one corner of the image
well and the opposite corner badly, and noise is added. You write one file, with an operator, the corruption and its
settings. `rsd_med.corruptions.kinds` gets one line:

    Kind("off_centre_coil", "rsd_med.corruptions.off_centre_coil:OffCentreCoilSettings"),

Then protocols take `corruption: {kind: off_centre_coil, depth: 0.7, sigma: 0.1}`; the JSON schema, the checks and the
documentation know the new kind as well. Below the file come three questions that a new corruption has to answer:
is the adjoint the adjoint, is an item corrupted alike whenever it comes by, and does a teacher learn from it?
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.backbones.monai_unet import MonaiUNetSettings
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.operators.linear import LinearOperator
from rsd_med.teachers.ambient_tweedie import AmbientTweedieSettings


class Shading(LinearOperator):
    """Multiply images ``(b, C, y, x)`` by weights ``(b, 1, y, x)``, real: the operator is its own adjoint."""

    item_tensors: ClassVar[dict[str, int]] = {"weights": 3}

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.weights

    def adjoint(self, y: Tensor) -> Tensor:
        """Multiply again."""
        return y * self.weights


class OffCentreCoilSettings(CorruptionSettings):
    """One coil beside the object: one corner is bright, the opposite one dark."""

    kind: Literal["off_centre_coil"] = "off_centre_coil"
    depth: float = Field(0.7, ge=0, lt=1, description="how much of the brightness the dark corner lacks")
    sigma: float = Field(0.1, ge=0, description="noise per real component, in scaled units")

    def build(self) -> "OffCentreCoil":
        """Return the corruption."""
        return OffCentreCoil(self)


class OffCentreCoil(ImageCorruption):
    """``y = w ⊙ x + σε``; the direction of the slope w is drawn anew for each image."""

    def __init__(self, settings: OffCentreCoilSettings) -> None:
        super().__init__(settings.sigma)
        self.settings = settings

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> LinearOperator:
        """Draw a direction for each item; `Draws` gives an item the same numbers however a batch is divided."""
        angle = 2 * torch.pi * draws.uniform(items, 1, 1, 1)
        y = torch.linspace(-1, 1, size[0], device=draws.device)[:, None]
        x = torch.linspace(-1, 1, size[1], device=draws.device)
        slope = (y * angle.sin() + x * angle.cos()) / 2**0.5  # from -1 in one corner, at most, to 1
        return Shading(1 - self.settings.depth * (1 + slope) / 2)


def main() -> float:
    """Ask the three questions; return the loss of an untrained teacher."""
    corruption = OffCentreCoilSettings().build()
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1

    # Is the adjoint the adjoint? <A x, y> = <x, A^H y>. `tests/operators/contracts.py` asks more.
    A = corruption.draw_items(4, (32, 32), generator_for(0, "example"))
    y = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close((A(images) * y).sum(), (images * A.H(y)).sum())

    # Is an item corrupted alike whenever it comes by? Its draws derive from seed, purpose and name.
    once, again = (
        corruption.measure_image(images[0], "knee-7", generator_for(0, "corruption", "knee-7")) for _ in range(2)
    )
    assert torch.equal(once.data, again.data)

    # Does a teacher learn from it? The noise is white and in every pixel, so Ambient Tweedie applies.
    batch = Measurement.cat(
        [corruption.measure_image(image, f"{i}", generator_for(0, "corruption", i)) for i, image in enumerate(images)]
    )
    objective = AmbientTweedieSettings().build(corruption)
    backbone = MonaiUNetSettings(channels=(8, 8), attention=(False, False))
    denoiser = build_denoiser(backbone, DiffusionSettings(), 1, objective.context_channels, generator_for(0, "weights"))
    loss = objective(denoiser, batch, generator_for(0, "step")).mean()
    loss.backward()
    print(f"loss of the untrained teacher: {loss.item():.1f}")
    return loss.item()


if __name__ == "__main__":
    main()
