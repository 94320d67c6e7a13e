"""Networks as others get them: preconditioning, the one step, and what is hidden of an image lie inside.

Whoever calls one needs to know neither EDM nor operators: numbers go in, images come out.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.diffusion.clip import BLACK, WHITE
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.guess_error import LATENTS, Spread
from rsd_med.diffusion.unrolled import GAP_ITERATIONS, LEVEL, SETTLED_ITERATIONS, UnrolledNetwork, noise_input
from rsd_med.operators.conjugate_gradient import conjugate_gradient
from rsd_med.operators.data_step import preconditioned
from rsd_med.sharing.kspace import masked_in_kspace

_COMPLEX = 2


@dataclass(frozen=True)
class Port:
    """An input or the output of a network.

    Attributes
    ----------
    name
        In files and in calls.
    axes
        The name of each axis: ``batch``, ``channel``, ``coil``, ``y``, ``x``.
    meaning
        What the numbers are, for a person.
    """

    name: str
    axes: tuple[str, ...]
    meaning: str


@dataclass(frozen=True)
class Conditions:
    """What a network is shown through, drawn as in training; both None where it sees whole images.

    Attributes
    ----------
    mask
        1 where pixels or k-space are shown, ``(n, 1, y, x)`` float32.
    coil_maps
        ``(n, 2, coil, y, x)`` float32, real and imaginary part; None where pixels are hidden.
    """

    mask: Tensor | None = None
    coil_maps: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return what there is, by the names of the ports."""
        named = {"mask": self.mask, "coil_maps": self.coil_maps}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def ports(self) -> tuple[Port, ...]:
        """Describe what there is."""
        image = ("batch", "channel", "y", "x")
        if self.mask is None:
            return ()
        if self.coil_maps is None:
            return (Port("mask", image, "1 at pixels that the network is shown, 0 elsewhere"),)
        maps = (
            "coil sensitivities, real and imaginary part; their squared magnitudes add up to 1 in the body, 0 outside"
        )
        return (
            Port("mask", image, "1 where the network is shown k-space, 0 elsewhere; lowest frequency at y//2, x//2"),
            Port("coil_maps", ("batch", "part", "coil", "y", "x"), maps),
        )


class SharedGraph(nn.Module, ABC):
    """A network that stands for itself.

    Attributes
    ----------
    name
        Of the network; that of its stage and of its files.
    does
        What it does, a sentence for a person.
    drawing
        How images are drawn with it (`rsd_med.sharing.bundle_draw`): ``one_step`` or ``heun``; None where it takes a
        measurement, and no bundle is written.
    """

    name: ClassVar[str]
    does: ClassVar[str]
    drawing: ClassVar[str | None]

    def __init__(self, denoiser: Denoiser, few_steps: FewSteps, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.few_steps = few_steps
        self.channels = channels
        self.size = size

    @abstractmethod
    def inputs(self, conditions: Conditions) -> tuple[Port, ...]:
        """Describe what the network takes, in order."""

    def weights(self) -> dict[str, Tensor]:
        """Return what a checkpoint holds of it."""
        return self.denoiser.state_dict()

    def output(self) -> Port:
        """Describe what it gives."""
        kind = "real and imaginary part" if self.channels == _COMPLEX else f"in [{BLACK:g}, {WHITE:g}], black to white"
        return Port("image", ("batch", "channel", "y", "x"), f"clean images, {kind}, in the scaled units of training")

    @abstractmethod
    def example(self, conditions: Conditions, draws: Draws, items: int) -> tuple[Tensor, ...]:
        """Return ``items`` inputs such as the network knows."""

    def _shown(self, x: Tensor, mask: Tensor | None, coil_maps: Tensor | None) -> Tensor:
        if mask is None:
            return x
        return x * mask if coil_maps is None else masked_in_kspace(x, mask, coil_maps)


class StudentGraph(SharedGraph):
    """A student: random numbers to images, in one call."""

    name = "student"
    does = "Makes images of random numbers, in one call."
    drawing = "one_step"

    def forward(self, z: Tensor, mask: Tensor | None = None, coil_maps: Tensor | None = None) -> Tensor:
        """Map standard normal numbers ``(b, channels, y, x)``, and what they are shown through, to images."""
        image = self.few_steps.ask(self.denoiser, lambda x: self._shown(x, mask, coil_maps), mask, z)
        return image.clamp(BLACK, WHITE) if self.few_steps.clip and self.channels != _COMPLEX else image

    def inputs(self, conditions: Conditions) -> tuple[Port, ...]:
        """Describe what the network takes, in order."""
        noise = Port(
            "z", ("batch", "channel", "y", "x"), "independent standard normal numbers; each z is another image"
        )
        return noise, *conditions.ports()

    def example(self, conditions: Conditions, draws: Draws, items: int) -> tuple[Tensor, ...]:
        """Return ``items`` inputs such as the network knows."""
        return draws.normal(items, self.channels, *self.size), *_first(conditions, items)


class TeacherGraph(SharedGraph):
    """A teacher: noisy images to the mean of the clean images that they may have been."""

    name = "teacher"
    does = (
        "Estimates the clean image behind a noisy one; a sampler that walks from noise to an image asks it many times."
    )
    drawing = "heun"

    def forward(
        self, noisy: Tensor, sigma: Tensor, mask: Tensor | None = None, coil_maps: Tensor | None = None
    ) -> Tensor:
        """Map noisy images ``(b, channels, y, x)`` of levels ``(b,)`` to denoised ones."""
        image: Tensor = self.denoiser(self._shown(noisy, mask, coil_maps), sigma, mask)
        return image

    def inputs(self, conditions: Conditions) -> tuple[Port, ...]:
        """Describe what the network takes, in order."""
        noisy = Port("noisy", ("batch", "channel", "y", "x"), "clean image plus sigma times standard normal numbers")
        level = Port("sigma", ("batch",), "standard deviation of that noise, for each channel; 0.002 to 80")
        return noisy, level, *conditions.ports()

    def example(self, conditions: Conditions, draws: Draws, items: int) -> tuple[Tensor, ...]:
        """Return ``items`` inputs such as the network knows."""
        level = 0.1 + 2 * draws.uniform(items)
        noisy = level.reshape(-1, 1, 1, 1) * draws.normal(items, self.channels, *self.size)
        return noisy, level, *_first(conditions, items)


class ReconstructorGraph(SharedGraph):
    """A reconstructor: a zero-filled image and random numbers to a draw from the posterior."""

    name = "reconstructor"
    does = "Reconstructs undersampled multi-coil k-space: each z gives another image that explains the scan."
    drawing = None

    def __init__(self, unrolled: UnrolledNetwork, channels: int, size: tuple[int, int]) -> None:
        super().__init__(unrolled.denoiser, FewSteps(1.0), channels, size)
        self.unrolled = unrolled

    def weights(self) -> dict[str, Tensor]:
        """Return the state of the whole reconstructor."""
        return self.unrolled.state_dict()

    def forward(self, zero_filled: Tensor, sigma: Tensor, z: Tensor, mask: Tensor, coil_maps: Tensor) -> Tensor:
        """Draw images ``(b, 2, y, x)``; `UnrolledNetwork.draw` in real numbers, the first of each pair.

        Parameters
        ----------
        zero_filled
            ``A^H y``, ``(b, 2, y, x)``.
        sigma
            Noise level of each scan ``(b,)``.
        z
            Standard normal numbers ``(b, LATENTS, y, x)``; zeros give the estimate.
        mask, coil_maps
            Of the scans, ``(b, 1, y, x)`` and ``(b, 2, coil, y, x)``.
        """
        own = self.unrolled
        scan = zero_filled, sigma.reshape(-1, 1, 1, 1), mask, coil_maps
        image = zero_filled
        for _ in range(1, own.turns):
            guess, _, weight = self._guess(image, scan)
            image = _restored(guess, weight, scan, SETTLED_ITERATIONS)
        guess, error, weight = self._guess(image, scan)
        estimate = _restored(guess, weight, scan, SETTLED_ITERATIONS)
        silent = torch.zeros_like(zero_filled), *scan[1:]
        gap = _restored(error.drawn(z[:, None]), weight, silent, GAP_ITERATIONS)
        return estimate + own.spread_for(mask.mean((1, 2, 3))).reshape(-1, 1, 1, 1) * gap

    def inputs(self, conditions: Conditions) -> tuple[Port, ...]:
        """Describe what the network takes, in order."""
        return (
            Port(
                "zero_filled",
                ("batch", "channel", "y", "x"),
                "the scan's zero-filled, coil-combined image, real and imaginary part, in the scaled units of training",
            ),
            Port("sigma", ("batch",), "noise of the scan, standard deviation per real component, divided likewise"),
            Port("z", ("batch", "latent", "y", "x"), "independent standard normal numbers; zeros give the estimate"),
            *conditions.ports(),
        )

    def output(self) -> Port:
        """Describe what it gives."""
        return Port("image", ("batch", "channel", "y", "x"), "a draw from the posterior, real and imaginary part")

    def example(self, conditions: Conditions, draws: Draws, items: int) -> tuple[Tensor, ...]:
        """Return ``items`` inputs such as the network knows."""
        mask, coil_maps = _first(conditions, items)
        image = masked_in_kspace(draws.normal(items, self.channels, *self.size), mask, coil_maps)
        return image, 0.01 + 0.02 * draws.uniform(items), draws.normal(items, LATENTS, *self.size), mask, coil_maps

    def _guess(self, image: Tensor, scan: "RealScan") -> tuple[Tensor, Spread, Tensor]:
        zero_filled, sigma, mask, _ = scan
        level = torch.full_like(sigma[:, 0, 0, 0], LEVEL)
        context = torch.cat([mask, zero_filled, noise_input(sigma[:, 0, 0, 0]).expand_as(mask)], 1)
        guess = self.denoiser(image, level, context)
        error = self.unrolled.guess_error(guess, zero_filled, mask, sigma)
        return guess, error, self.unrolled.guess_error.weight(error, sigma)


RealScan = tuple[Tensor, Tensor, Tensor, Tensor]
"""A scan in real numbers: ``A^H y``, σ ``(b, 1, 1, 1)``, mask, coil maps; see `ReconstructorGraph`."""


def _restored(guess: Tensor, weight: Tensor, scan: RealScan, iterations: int) -> Tensor:
    """Take the data step; see `rsd_med.operators.data_step`."""
    zero_filled, _, mask, coil_maps = scan
    coils = coil_maps.square().sum((1, 2)).unsqueeze(1)
    scale = preconditioned(weight, mask.mean((-2, -1), keepdim=True) * coils)

    def system(v: Tensor) -> Tensor:
        image = scale * v
        return scale * (masked_in_kspace(image, mask, coil_maps) + weight * image)

    right = scale * (zero_filled + weight * guess)
    return scale * conjugate_gradient(system, right, iterations, start=guess / scale)


def _first(conditions: Conditions, items: int) -> list[Tensor]:
    """Return the first conditions, from the start again where there are fewer."""
    return [tensor[torch.arange(items) % len(tensor)] for tensor in conditions.tensors().values()]
