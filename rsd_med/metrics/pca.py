"""Principal components of a reference set: features that a person can look at, as a second opinion."""

import hashlib
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.metrics.features import FeatureSettings
from rsd_med.metrics.views import checked_view, looked_at

AT_ONCE = 256
"""Images that are held in float64 at once."""


class PCAFeatures:
    """Coordinates along the leading principal components of the pixels of a reference set.

    The components are divided by the standard deviation of all pixels of the reference, and by nothing else, so that
    a Fréchet distance here is a squared distance between images. It sees what the reference varies in and little
    noise; it belongs to its reference, whose digest the name carries.

    Parameters
    ----------
    reference
        Float32 ``(N, channels, y, x)`` as returned by `magnitude_view`.
    dimension
        The number of components, less than N and at most C*H*W.

    Raises
    ------
    DataError
        If the reference is too small for the dimension, constant, or no view.
    """

    def __init__(self, reference: Tensor, dimension: int = 48) -> None:
        pixels = checked_view(reference).detach().cpu().double().flatten(1)
        if dimension >= len(pixels) or dimension > pixels.shape[1]:
            raise DataError(
                f"{dimension} principal components need more than {dimension} reference images of at least as many "
                f"pixels, and there are {len(pixels)} of {pixels.shape[1]}; use more images or fewer components"
            )
        self._shape = tuple(reference.shape[1:])
        self._mean = pixels.mean(0)
        centred = pixels - self._mean
        scale = float(centred.square().mean().sqrt())
        if scale == 0.0:
            raise DataError("the reference images of the pca features are all equal; supply images that differ")
        if len(pixels) < pixels.shape[1]:  # of large images the covariance has more numbers than all of them together
            components = torch.linalg.svd(centred, full_matrices=False).Vh[:dimension].T
        else:
            _, vectors = torch.linalg.eigh(centred.T @ centred)
            components = vectors[:, -dimension:].flip(1)
        # An eigenvector's sign is arbitrary: make its largest entry positive.
        largest = components.gather(0, components.abs().argmax(0, keepdim=True))
        self._projection = components * largest.sign() / scale
        digest = hashlib.sha256(reference.detach().cpu().float().contiguous().numpy().tobytes()).hexdigest()[:8]
        self.dimension = dimension
        self.name = f"pca-v1-{digest}-{dimension}"

    def __call__(self, images: Tensor) -> Tensor:
        """Return float64 ``(N, dimension)`` for float32 ``(N, channels, y, x)`` of the reference's shape.

        Raises
        ------
        DataError
            If the images differ in shape from the reference, or contain NaN.
        """
        if tuple(images.shape[1:]) != self._shape:
            raise DataError(f"pca features were fitted on images of shape {self._shape}, not {tuple(images.shape[1:])}")
        return looked_at(images, AT_ONCE, self._look)

    def _look(self, images: Tensor) -> Tensor:
        return (images.detach().cpu().double().flatten(1) - self._mean) @ self._projection


class PCASettings(FeatureSettings):
    """Principal components of the reference set."""

    kind: Literal["pca"] = "pca"
    dimension: int = Field(48, ge=1, description="the number of components")

    def build(self, reference: Tensor | None = None, base_dir: Path | None = None) -> PCAFeatures:
        """Fit the components to the reference.

        Parameters
        ----------
        reference
            Float32 ``(N, channels, y, x)`` as returned by `magnitude_view`.
        base_dir
            Not used: every kind is built alike.

        Raises
        ------
        DataError
            If there is no reference, or it is too small.
        """
        if reference is None:
            raise DataError(
                "features of kind pca are fitted to reference images, and there are none; choose random_conv"
            )
        return PCAFeatures(reference, self.dimension)
