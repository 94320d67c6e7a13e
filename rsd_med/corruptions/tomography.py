"""Computed tomography with few views, seen as the filtered back-projection."""

from functools import lru_cache
from typing import Literal

from jaxtyping import Inexact
from pydantic import Field
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import CorruptionSettings, ImageCorruption
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.operators.tomography import ParallelBeam, filtered_back_projection


class SparseViewSettings(CorruptionSettings):
    """Parallel-beam tomography of square images with few views; the data are the filtered back-projections."""

    kind: Literal["sparse_view"] = "sparse_view"
    views: int = Field(ge=1, description="number of angles, evenly spaced over 180 degrees")
    sinogram_noise: float = Field(
        0.0,
        ge=0,
        description="standard deviation of white noise in the sinogram, whose values are means along the rays in "
        "scaled units",
    )

    def build(self) -> "SparseView":
        """Return the corruption."""
        return SparseView(self)


class SparseView(ImageCorruption):
    """y = B (R x + s e): B is filtered back-projection, R the Radon transform with few views.

    In the image the noise is not white, and its sigma is given as 0: a teacher learns it as part of the law of y.
    """

    def __init__(self, settings: SparseViewSettings) -> None:
        super().__init__()
        self.settings = settings

    def draw_items(self, items: int, size: tuple[int, int], draws: Draws) -> LinearOperator:
        """Return B R: the same for every item."""
        if size[0] != size[1]:
            raise ProtocolError(f"corruption.kind: sparse_view needs square images, not {size[0]}×{size[1]}; fit them.")
        return _scan(size[0], self.settings.views)

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Add the back-projection of noise in the sinogram to images."""
        if not self.settings.sinogram_noise:
            return data
        sinogram = data.new_zeros(*data.shape[:-2], self.settings.views, data.shape[-1])
        noise = complex_or_real_noise(sinogram, self.settings.sinogram_noise, draws)
        return data + _back_projection(data.shape[-1], self.settings.views)(noise)


@lru_cache(maxsize=8)
def _back_projection(size: int, views: int) -> LinearOperator:
    return filtered_back_projection(ParallelBeam(size, views))


@lru_cache(maxsize=8)
def _scan(size: int, views: int) -> LinearOperator:
    return _back_projection(size, views) @ ParallelBeam(size, views)
