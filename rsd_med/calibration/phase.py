"""What every estimate of coil maps ends with: unit norm, and a phase of its own choosing."""

import torch
from torch import Tensor

from rsd_med.calibration.scale import windowed_images


def normalised(maps: Tensor) -> Tensor:
    """Scale maps to Σ|S|² = 1 where there is any sensitivity.

    Parameters
    ----------
    maps
        Complex, (coil, y, x).

    Returns
    -------
    Tensor
        complex64, (coil, y, x); 0 stays 0.
    """
    maps = maps.to(torch.complex64)
    power = maps.abs().square().sum(0, keepdim=True).sqrt()
    return torch.where(power > 0, maps / power.clamp_min(torch.finfo(torch.float32).tiny), 0)


def object_phase(maps: Tensor, calibration: Tensor) -> Tensor:
    """Give maps, whose phase is free at every pixel, that of the object, as far as the centre of k-space shows it.

    So the image of the centre by these maps is real and positive, and of an image only that phase is left which changes
    within a few pixels. An image that is nearly real is simpler, for a wavelet as for a network.
    No phase is lost: maps times image are what they were.

    Parameters
    ----------
    maps
        complex64, (coil, y, x).
    calibration
        Centre of k-space, complex64, (coil, w, w).

    Returns
    -------
    Tensor
        complex64, (coil, y, x), same magnitudes.
    """
    image = (maps.conj() * windowed_images(calibration, tuple(maps.shape[-2:]))).sum(0)
    size = image.abs()
    return maps * torch.where(size > 0, image / size.clamp_min(torch.finfo(torch.float32).tiny), 1)


def orthonormal(sets: Tensor) -> Tensor:
    """Make the sets of maps orthonormal at every pixel, each against those before it (Gram and Schmidt).

    Parameters
    ----------
    sets
        Complex, (set, coil, y, x).

    Returns
    -------
    Tensor
        complex64, (set, coil, y, x); what is no more than a thousandth of a map outside the span of those before is 0.
    """
    done: list[Tensor] = []
    for maps in sets.to(torch.complex64):
        rest = maps = normalised(maps)
        for other in done:
            rest = rest - other * (other.conj() * rest).sum(0)
        distinct = rest.abs().square().sum(0) > 1e-6
        done.append(normalised(rest * distinct) if done else maps)
    return torch.stack(done)
