"""The corruption: a distribution over operators, with noise of a known level."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Inexact
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.settings import KindSettings
from rsd_med.corruptions.measurement import GENERATED, Measurement
from rsd_med.operators.linear import Identity, LinearOperator
from rsd_med.operators.noise import complex_or_real_noise


class CorruptionSettings(KindSettings):
    """What happened to the data, or is done to them."""

    @abstractmethod
    def build(self) -> "Corruption":
        """Return the corruption."""


class Corruption(ABC):
    """What could have happened to an image: y = A(x) + sigma e with A drawn at random.

    Whatever is random comes from the `Draws` that a method is given; the global random state is never touched.

    Attributes
    ----------
    sigma
        Known standard deviation of the noise per real component, in scaled units.
    noise_everywhere
        Whether every number of the data is one of the image and carries that noise, as Tweedie's formula asks.
    """

    sigma: float
    noise_everywhere: bool = True

    @abstractmethod
    def draw(self, like: Measurement, draws: Draws) -> LinearOperator:
        """Draw a fresh operator for a batch shaped like ``like``.

        Parameters
        ----------
        like
            Measurements whose number, shape, device and coil maps the operator takes over.
        draws
            The source of randomness.

        Raises
        ------
        ProtocolError
            If the settings cannot be met for this shape.
        """

    @abstractmethod
    def further(self, operator: LinearOperator, draws: Draws) -> LinearOperator:
        """Draw an operator that measures a part of what ``operator`` measures.

        Raises
        ------
        ProtocolError
            If nothing is left to be removed.
        """

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Add noise of the corruption's sigma to data ``A(x)``, where the operator measures.

        Parameters
        ----------
        data
            ``(b, ...)``, real or complex.
        operator
            The A that gave them.
        draws
            The source of randomness.
        """
        return data + complex_or_real_noise(data, self.sigma, draws) if self.sigma else data

    def corrupt(self, image: Inexact[Tensor, "b c y x"], like: Measurement, draws: Draws) -> Measurement:
        """Measure images with a fresh operator: y = A(x) + sigma e, differentiable in the images.

        Parameters
        ----------
        image
            ``(b, channels, y, x)`` float32 or ``(b, 1, y, x)`` complex64, in scaled units.
        like
            As many measurements, whose shape, coil maps and scale are taken over.
        draws
            The source of randomness.

        Raises
        ------
        ValueError
            If the numbers of images and measurements differ.
        ProtocolError
            If the settings cannot be met for this shape.
        """
        if len(image) != len(like):
            raise ValueError(f"{len(image)} images cannot be corrupted like {len(like)} measurements.")
        operator = self.draw(like, draws)
        return Measurement(
            data=self.add_noise(operator(image), operator, draws),
            operator=operator,
            sigma=torch.full_like(like.sigma, self.sigma),
            scale=like.scale,
            ids=(GENERATED,) * len(image),
        )


class ImageCorruption(Corruption):
    """A corruption of images of one size, y = A(x) + sigma e, with an A of its own for every item.

    Parameters
    ----------
    sigma
        Standard deviation of the noise per real component that training assumes, in scaled units; 0 for none, and for
        noise of another law.
    simulated_sigma
        The level of the noise that a source's images get, where it is another one.
    """

    def __init__(self, sigma: float = 0.0, simulated_sigma: float | None = None) -> None:
        self.sigma = sigma
        self.simulated_sigma = simulated_sigma

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> LinearOperator:
        """Draw the operators of a batch; by default every pixel is seen as it is.

        Parameters
        ----------
        items, size
            How many, and ``(y, x)`` of the images.
        draws
            The source of randomness, on whose device the operator lies.

        Raises
        ------
        ProtocolError
            If the settings do not fit the size.
        """
        return Identity()

    def draw(self, like: Measurement, draws: Draws) -> LinearOperator:
        """Draw fresh operators for a batch shaped like ``like``."""
        y_size, x_size = like.data.shape[-2:]
        return self.draw_items(len(like), (y_size, x_size), draws).to(like.data.device)

    def further(self, operator: LinearOperator, draws: Draws) -> LinearOperator:
        """Return the operator: nothing is removed from it."""
        return operator

    def measure_image(self, image: Inexact[Tensor, "c y x"], item_id: str, draws: Draws) -> Measurement:
        """Turn one image of a source into a measurement.

        Parameters
        ----------
        image
            ``(channels, y, x)`` float32 or ``(1, y, x)`` complex64, in scaled units.
        item_id
            The image's name.
        draws
            The source of randomness; from (seed, "corruption", id), so that the corruption is fixed for a run.

        Returns
        -------
        Measurement
            A batch of one.
        """
        y_size, x_size = image.shape[-2:]
        operator = self.draw_items(1, (y_size, x_size), draws)
        return Measurement(
            data=self.measured(image[None], operator, draws),
            operator=operator,
            sigma=torch.full((1,), self.sigma),
            scale=torch.ones(1),
            ids=(item_id,),
        )

    def measured(
        self, image: Inexact[Tensor, "b c y x"], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b c y x"]:
        """Return the data that a source's image becomes."""
        if self.simulated_sigma is None:
            return self.add_noise(operator(image), operator, draws)
        data = operator(image)
        return data + complex_or_real_noise(data, self.simulated_sigma, draws)
