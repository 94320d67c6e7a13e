"""The one signature of every solver, and what a reconstruction tells besides its image."""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DivergedError
from rsd_med.base.progress import Progress, part_of
from rsd_med.base.randomness import generator_for
from rsd_med.base.settings import KindSettings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.consistency import Consistency, consistency
from rsd_med.inverse.hiding import Hidden
from rsd_med.inverse.prior import Prior, TrainedNetwork, require_prior
from rsd_med.inverse.uncertainty import LEVEL, combined_magnitude, prediction_interval, spread
from rsd_med.operators.mri import MultiCoilFourier


@dataclass(frozen=True)
class Reconstruction:
    """What a solver makes of one slice, in the scaled units of its measurement.

    Attributes
    ----------
    samples
        ``(n, set, y, x)`` complex64: n posterior samples, or the one image of a deterministic method. Its parts belong
        to the scan's sets of coil maps, of which there is one as a rule.
    mean
        ``(set, y, x)`` complex64: mean of the samples.
    std
        ``(1, y, x)`` float32: standard deviation of the samples' magnitudes; None for a single sample.
    interval
        Lower and upper bound of the magnitude ``(1, y, x)`` float32, at the level asked for; None for a single sample.
    residual
        Whether the mean explains the measurement.
    seconds
        Wall-clock time.
    coil_images
        ``(coil, y, x)`` complex64 of methods that make an image of each coil; their root-sum-of-squares is the image
        then. None for those that make one image for all.
    facts
        What the method tells of its work, for metrics.json.
    """

    samples: Tensor
    mean: Tensor
    std: Tensor | None
    interval: tuple[Tensor, Tensor] | None
    residual: Consistency
    seconds: float
    coil_images: Tensor | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def magnitude(self) -> Tensor:
        """The image: magnitude of the mean, ``(1, y, x)`` float32."""
        return combined_magnitude(self.mean)

    def to(self, device: torch.device | str) -> Self:
        """Return the reconstruction with all its images on a device."""
        return replace(
            self,
            samples=self.samples.to(device),
            mean=self.mean.to(device),
            std=None if self.std is None else self.std.to(device),
            interval=None if self.interval is None else (self.interval[0].to(device), self.interval[1].to(device)),
            coil_images=None if self.coil_images is None else self.coil_images.to(device),
        )


SLICES = 3
"""Slices of a volume that the check looks at, evenly placed; what it finds holds for all."""


class Solver(ABC):
    """Measurement of one slice in, reconstruction out; the same for the same generator.

    A subclass writes `solve`.

    Parameters
    ----------
    settings
        Of this kind.

    Attributes
    ----------
    learns
        Whether it learns from each slice before it is asked, which takes minutes.
    """

    learns: ClassVar[bool] = False

    def __init__(self, settings: "SolverSettings") -> None:
        self.settings = settings

    def __call__(self, measurement: Measurement, generator: Draws, progress: Progress | None = None) -> Reconstruction:
        """Reconstruct one slice.

        Parameters
        ----------
        measurement
            A batch of one: k-space ``(1, coil, y, x)`` complex64 in scaled units, with its operator and σ.
        generator
            The source of all randomness.
        progress
            Told how far the work is; it may raise to cancel.

        Raises
        ------
        ValueError
            If there is more than one slice, or no k-space.
        DivergedError
            If the result is not finite.
        """
        if len(measurement) != 1 or not measurement.operator.complex_domain:
            raise ValueError(
                f"A solver takes the k-space of one slice, not {len(measurement)} of {measurement.data.dtype}."
            )
        if isinstance(measurement.operator, MultiCoilFourier) and not self.settings.takes_sets:
            measurement = replace(measurement, operator=measurement.operator.first_set())
        began = time.perf_counter()
        report = progress if progress is not None else _ignore
        report(0.0)
        # Dark where no coil sees the image: nothing was measured there, and a prior would fill it in.
        samples = self.solve(measurement, generator, report).detach() * measurement.operator.support()
        if not bool(torch.isfinite(torch.view_as_real(samples)).all()):
            raise DivergedError(
                f"{measurement.ids[0]}: the reconstruction left the finite numbers; take more steps or less guidance."
            )
        report(1.0)
        seconds = time.perf_counter() - began
        return replace(summarise(samples, measurement, seconds), coil_images=self.coil_images(measurement))

    def without(
        self, measurement: Measurement, hidden: Sequence[Hidden], generators: Sequence[Draws], progress: Progress
    ) -> list[Tensor]:
        """Reconstruct a slice several times, each time without some of its lines.

        Parameters
        ----------
        measurement
            A batch of one, with all its lines; what is hidden must not bear on the image made without it.
        hidden
            It, without some.
        generators
            The source of randomness of each.
        progress
            Told how far the work is; it may raise to cancel.

        Returns
        -------
        list of Tensor
            The images, ``(set, y, x)`` complex64.
        """
        images = []
        for number, (one, generator) in enumerate(zip(hidden, generators, strict=True)):
            images.append(self(one.rest, generator, part_of(progress, number, len(hidden))).mean)
        return images

    def coil_images(self, measurement: Measurement) -> Tensor | None:
        """Return an image of each coil, ``(coil, y, x)``, where the method makes some."""
        return None

    @abstractmethod
    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Return samples ``(n, set, y, x)`` complex64."""


class PriorSolver(Solver):
    """A solver that asks a network.

    Parameters
    ----------
    settings
        Of this kind.
    prior
        The network.
    """

    def __init__(self, settings: "PriorSolverSettings", prior: Prior) -> None:
        super().__init__(settings)
        self.prior = prior


class SolverSettings(KindSettings):
    """How a measurement is reconstructed.

    Attributes
    ----------
    solver
        The class that does it.
    needs
        The network that it asks, if any.
    takes_sets
        Whether it reconstructs the parts of several sets of coil maps; if not, it gets the first set alone.
    fits_data
        Whether its image is meant to explain the measurement, so that one that does not is a warning.
    """

    solver: ClassVar[type[Solver]]
    needs: ClassVar[Literal["teacher", "student", "reconstructor"] | None] = None
    takes_sets: ClassVar[bool] = True
    fits_data: ClassVar[bool] = True

    @classmethod
    def gives_samples(cls) -> bool:
        """Whether there are ``samples`` to ask for, and not one image alone."""
        return "samples" in cls.model_fields

    def build(self, prior: TrainedNetwork | None = None) -> Solver:
        """Build the solver.

        Parameters
        ----------
        prior
            Teacher, student or reconstructor; not used by methods that need none.

        Raises
        ------
        ProtocolError
            If the prior that the method needs is not given.
        """
        return self.solver(self)


class PriorSolverSettings(SolverSettings):
    """How a measurement is reconstructed with the help of a network."""

    solver: ClassVar[type[PriorSolver]]
    takes_sets: ClassVar[bool] = False
    needs: ClassVar[Literal["teacher", "student", "reconstructor"] | None] = "teacher"

    samples: PositiveInt = Field(8, description="posterior samples")

    def build(self, prior: TrainedNetwork | None = None) -> Solver:
        """Build the solver; ProtocolError without the network that it needs."""
        return self.solver(self, require_prior(prior, self.kind, student=self.needs == "student"))


def summarise(samples: Tensor, measurement: Measurement, seconds: float, level: float = LEVEL) -> Reconstruction:
    """Reduce samples ``(n, set, y, x)`` of one slice to mean, spread, interval at ``level``, and residual."""
    mean = samples.mean(0)
    several = len(samples) > 1
    return Reconstruction(
        samples=samples,
        mean=mean,
        std=spread(samples) if several else None,
        interval=prediction_interval(samples, level) if several else None,
        residual=consistency(mean, measurement),
        seconds=seconds,
    )


def repeat(measurement: Measurement, count: int) -> Measurement:
    """Return a batch of ``count`` copies of a measurement of one slice."""
    return measurement[torch.zeros(count, dtype=torch.long)] if count > 1 else measurement


def sample_generators(count: int, generator: Draws) -> list[Draws]:
    """Derive a generator for each sample: sample k is the same however many are asked for, in whatever batches."""
    root = int(generator.integers(2**62, 1))
    return [generator_for(root, "sample", number, device=generator.device) for number in range(count)]


def _ignore(done: float) -> None:
    """Report to nobody."""
