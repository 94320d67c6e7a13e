"""What every estimate of coil maps ends with: unit norm, and a phase of its own choosing."""

import torch
from torch import Tensor


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


def common_phase(maps: Tensor, calibration: Tensor) -> Tensor:
    """Give maps, whose phase is free at every pixel, the phase of a virtual coil.

    The virtual coil is the dominant combination of all coils over the calibration data. Unlike any single coil it has
    signal everywhere, so neither maps nor image get the phase jumps around the blind spots of a reference coil
    (virtual reference coil: Parker et al., Magn. Reson. Med. 72, 2014; Buehrer et al., 2009).

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
    samples = (calibration / calibration.abs().max()).flatten(1)
    weights = torch.linalg.eigh(samples @ samples.mH).eigenvectors[:, -1]
    # An eigenvector's own phase is arbitrary and differs between machines; the strongest coil's weight is made real.
    strongest = weights[weights.abs().argmax()]
    weights = weights * (strongest.conj() / strongest.abs())
    combined = torch.einsum("c,cyx->yx", weights.conj(), maps)
    size = combined.abs()
    return maps * torch.where(size > 0, combined.conj() / size.clamp_min(torch.finfo(torch.float32).tiny), 1)


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
