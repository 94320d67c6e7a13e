"""The learned prior as a solver sees it: a network, and how it is shown images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.unrolled import UnrolledNetwork
from rsd_med.diffusion.view import View
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.soft_sense import multicoil_fourier


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A network that solvers ask, and the images that it has learned from.

    Attributes
    ----------
    size
        (y, x) of the training images.
    any_size
        Whether scans of another matrix are taken too. The network is convolutional and the masks are drawn anew, with
        as large a share of the columns; but anatomy is shown at another scale in pixels than it was learned at.
    """

    size: tuple[int, int]
    any_size: bool = False

    def check(self, measurement: Measurement) -> None:
        """Refuse a scan of another size than the training images, unless the network is meant to take any.

        Raises
        ------
        DataError
            If so.
        """
        size = measurement.size
        if size != self.size and not self.any_size:
            raise DataError(
                f"{measurement.ids[0]}: the scan has {size[0]} x {size[1]} pixels and the prior was trained on "
                f"{self.size[0]} x {self.size[1]}; use a method without a prior, a run of that size, "
                "--crop-kspace, or --any-size."
            )


@dataclass(frozen=True, kw_only=True)
class Amortised(TrainedNetwork):
    """A network that was trained to reconstruct.

    Attributes
    ----------
    network
        The reconstructor, without gradients of its weights.
    score
        What it was asked in training.
    """

    network: UnrolledNetwork
    score: HiddenLinesScore

    @property
    def point(self) -> bool:
        """Whether it has learned one estimate, and draws nothing."""
        return self.score.draws == 1


@dataclass(frozen=True, kw_only=True)
class Prior(TrainedNetwork):
    """A teacher or a student, with the conditions that it was trained under.

    Attributes
    ----------
    denoiser
        The network under its preconditioning, without gradients of its weights.
    show
        From an operator Ã to the way in which the network is shown an image of which only ``Ã x`` is known; for
        priors that see whole images it ignores the operator.
    corruption
        What the training data had suffered.
    masks
        Masks of training measurements ``(m, 1, 1, x)``, drawn from where the corruption knows no distribution.
    hides
        Whether it has learned from a part of each image, and is shown one.
    few_steps
        How a student generates, without clipping; None for a teacher.
    """

    denoiser: Denoiser
    show: Callable[[LinearOperator], View]
    corruption: Corruption
    masks: Tensor | None
    hides: bool
    few_steps: FewSteps | None = None

    def training_view(self, measurement: Measurement, generators: Sequence[Draws]) -> View:
        """Show images as in training: a further mask Ã of a training mask for each sample, with the scan's coil maps.

        A network has learned images of one set of maps. It is shown the parts of several sets one by one, as items
        ``sample 0 set 0, sample 0 set 1, …``.

        The masks are those of the *training* acceleration, whatever that of the scan (arXiv 2403.08728).

        Parameters
        ----------
        measurement
            One slice.
        generators
            One for each sample.
        """
        if not isinstance(self.corruption, MultiCoilUndersampling):
            return self.show(measurement.operator)
        corruption = self._corruption(self.corruption, measurement)
        drawn = [
            corruption.further(self._training_operator(measurement, corruption, generator), generator).apart()
            for generator in generators
        ]
        return self.show(LinearOperator.cat(drawn))

    def scan_view(self, measurement: Measurement, generators: Sequence[Draws]) -> View:
        """Show images under the scan's own mask, further undersampled as in training where enough lines are left.

        A scan that has no mask is shown as in training.
        """
        if not isinstance(self.corruption, MultiCoilUndersampling):
            return self.show(measurement.operator)
        if not isinstance(measurement.operator, MultiCoilFourier):
            return self.training_view(measurement, generators)
        corruption = self._corruption(self.corruption, measurement)
        drawn: list[LinearOperator] = []
        for generator in generators:
            try:
                drawn.append(corruption.further(measurement.operator, generator))
            except ProtocolError:
                drawn.append(measurement.operator)
        return self.show(LinearOperator.cat(drawn))

    def _corruption(self, corruption: MultiCoilUndersampling, measurement: Measurement) -> MultiCoilUndersampling:
        """Return the training corruption for the width of a scan."""
        width = measurement.size[1]
        return corruption if width == self.size[1] else corruption.at_width(width, self.size[1])

    def _training_operator(
        self, measurement: Measurement, corruption: MultiCoilUndersampling, generator: Draws
    ) -> MultiCoilFourier:
        maps = measurement.operator.coil_maps
        if self.masks is None or maps is None or self.masks.shape[-1] != maps.shape[-1]:
            return corruption.draw(measurement, generator)
        index = generator.integers(len(self.masks), 1)
        return multicoil_fourier(self.masks[index.to(self.masks.device)].to(maps.device), maps)


def require_prior(prior: TrainedNetwork | None, method: str, *, student: bool = False) -> Prior:
    """Return the prior that a method needs.

    Raises
    ------
    ProtocolError
        If there is none, or if it is not a student where one is needed.
    """
    if not isinstance(prior, Prior):
        raise ProtocolError(f"--method {method} needs a prior: give the folder of a run that rsd_med.train has filled.")
    if student and prior.few_steps is None:
        raise ProtocolError(f"--method {method} needs a student: train the run's second stage.")
    return prior
