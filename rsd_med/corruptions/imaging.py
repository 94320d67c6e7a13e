"""Corruptions of images by an operator that keeps their shape: what blur, inpainting and their like share."""

from abc import abstractmethod

import torch
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import LinearOperator


class OperatorCorruption(ImageCorruption):
    """y = A(x) + sigma e for images, with an A of its own for every item.

    Parameters
    ----------
    sigma
        Standard deviation of the noise per real component, in scaled units; 0 for none.
    simulated_sigma
        As in `NoiseLevelSettings`.
    """

    def __init__(self, sigma: float = 0.0, simulated_sigma: float | None = None) -> None:
        self.sigma = sigma
        self.simulated_sigma = simulated_sigma

    @abstractmethod
    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> LinearOperator:
        """Draw the operators of a batch.

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

    def draw(self, like: Measurement, draws: Draws) -> LinearOperator:
        """Draw fresh operators for a batch shaped like ``like``."""
        y_size, x_size = like.data.shape[-2:]
        return self.draw_items(len(like), (y_size, x_size), draws).to(like.data.device)

    def measure_image(self, image: Tensor, item_id: str, draws: Draws) -> Measurement:
        """Turn one image of a source into a measurement; see `ImageCorruption.measure_image`."""
        y_size, x_size = image.shape[-2:]
        operator = self.draw_items(1, (y_size, x_size), draws)
        return Measurement(
            data=self.measured(image[None], operator, draws),
            operator=operator,
            sigma=torch.full((1,), self.sigma),
            scale=torch.ones(1),
            ids=(item_id,),
        )
