"""What a feature extractor sees: the one place that maps images of the model to images for a metric."""

from collections.abc import Callable

import torch
from torch import Tensor

from rsd_med.base.errors import DataError


def magnitude_view(images: Tensor) -> Tensor:
    """Map complex images to ``2 |x| - 1`` and let real images pass.

    Parameters
    ----------
    images
        Complex ``(N, 1, y, x)``; or their channels, float ``(N, 2, y, x)`` with (real, imaginary); or natural images,
        float ``(N, 1, y, x)`` or ``(N, 3, y, x)`` in [-1, 1].

    Returns
    -------
    Tensor
        Float32 ``(N, 1, y, x)``, with -1 for no signal and +1 for a magnitude of one scale, not clipped; natural images
        keep their channels and values.

    Raises
    ------
    DataError
        If the shape is none of the above.
    """
    if images.ndim == 4 and images.is_complex() and images.shape[1] == 1:
        return (2.0 * images.abs() - 1.0).float()
    if images.ndim == 4 and not images.is_complex() and images.shape[1] == 2:
        return 2.0 * torch.linalg.vector_norm(images.float(), dim=1, keepdim=True) - 1.0
    if images.ndim == 4 and not images.is_complex() and images.shape[1] in (1, 3):
        return images.float()
    raise DataError(
        f"a metric cannot look at images of shape {tuple(images.shape)} and type {images.dtype}; "
        "pass complex (N, 1, y, x), (real, imaginary) channels (N, 2, y, x), or real (N, 1 or 3, y, x)"
    )


def checked_view(view: Tensor) -> Tensor:
    """Return ``view`` as float32, or say why it is no view: float ``(N, 1 or 3, y, x)``, all finite.

    Parameters
    ----------
    view
        What `magnitude_view` returned.

    Returns
    -------
    Tensor
        Float32 of the same shape.

    Raises
    ------
    DataError
        If the shape or type does not fit, or a value is not finite.
    """
    if view.ndim != 4 or view.is_complex() or view.shape[1] not in (1, 3):
        msg = f"a feature extractor needs real images (N, 1 or 3, y, x), not {tuple(view.shape)} {view.dtype}"
        raise DataError(msg + "; map them through magnitude_view first")
    view = view.float()
    if not bool(torch.isfinite(view).all()):
        raise DataError("the images to be compared contain NaN or infinity; the model that drew them has diverged")
    return view


def looked_at(view: Tensor, at_once: int, look: Callable[[Tensor], Tensor]) -> Tensor:
    """Look at a few images at a time: memory does not grow with their number.

    Parameters
    ----------
    view
        What `magnitude_view` returned.
    at_once
        Images in a batch.
    look
        From a checked batch to its features, one row for each image.

    Returns
    -------
    Tensor
        The rows of all batches.

    Raises
    ------
    DataError
        If the images are no view or contain NaN.
    """
    return torch.cat([look(checked_view(batch)) for batch in view.split(at_once)])
