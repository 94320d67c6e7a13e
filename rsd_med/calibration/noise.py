"""The noise of the receive coils: from a noise scan, or from parts of a scan where there is no signal."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.robust import robust_covariance
from rsd_med.calibration.scale import contiguous

NoiseSource = Literal["scan", "edges", "background", "edges and background", "residual"]

SAMPLES_PER_COIL = 10
"""Fewer samples than this for each coil give no covariance worth using."""

_EDGE_STRIP = (0.02, 0.1)
"""Which part of the field of view along the readout is taken for air, as distance from either end."""

_CENTRAL_COLUMNS = 0.5
"""Columns nearer to the centre than this part of the way hold so much signal that its tails reach the air."""

_FLATNESS = 0.2
"""How much the noise power of the two halves of a strip may differ."""

_OUTERMOST = 1 / 3
"""Of the entries in the corners of k-space, the part that is taken, if that is enough of them."""

_AGREEMENT = 0.1
"""How much two estimates may differ beyond chance and still be of the same noise."""

_ENOUGH = 50
"""Samples for each coil that are enough."""

_LEAST = 200
"""Samples that are wanted of any number of coils: fewer leave σ uncertain by more than 2 %."""


@dataclass(frozen=True)
class NoiseEstimate:
    """The noise of a scan.

    Attributes
    ----------
    covariance
        Ψ = E[n n^H] of one entry of k-space, complex128, (coil, coil), in the units of k-space squared.
    source
        Where it comes from.
    samples
        How many samples per coil it was estimated from.
    excess
        How much more power the samples have than the covariance: outliers, or signal where there should be none.
        0.02 is usual; above 0.2, the estimate should be taken for an upper bound.
    """

    covariance: Tensor
    source: NoiseSource
    samples: int
    excess: float

    @property
    def sigma(self) -> float:
        """Standard deviation per real component, as a mean over coils, in the units of k-space."""
        return noise_sigma(self.covariance)

    @property
    def uncertainty(self) -> float:
        """Relative standard deviation of `sigma` by chance alone, ½ ‖Ψ‖ / (tr Ψ √n) for n independent samples.

        Estimates from few samples, robust and of neighbours that depend on one another, scatter up to twice as much.
        """
        power = float(self.covariance.diagonal().real.sum())
        if not power > 0:
            return 0.0
        return float(self.covariance.norm()) / (2 * power * math.sqrt(self.samples))


def noise_covariance(samples: Tensor) -> Tensor:
    """Return the covariance of noise samples, Ψ = E[n n^H].

    Circular complex noise of σ per real component has Ψ = 2σ² in every coil. The mean is not removed: receiver noise
    has none, and subtracting an estimate of it would only lower the result.

    Parameters
    ----------
    samples
        Noise alone, complex, (coil, n).

    Returns
    -------
    Tensor
        Hermitian, complex128, (coil, coil).

    Raises
    ------
    DataError
        If there are fewer samples than coils, or they are not finite.
    """
    coils, count = samples.shape
    if count < coils:
        raise DataError(f"{count} noise samples cannot give the covariance of {coils} coils; measure more noise.")
    samples = samples.to(torch.complex128)
    covariance = samples @ samples.mH / count
    if not bool(torch.isfinite(torch.view_as_real(covariance)).all()):
        raise DataError("The noise samples hold NaN or infinite values; measure the noise again.")
    return covariance


def noise_sigma(covariance: Tensor) -> float:
    """Return the standard deviation per real component, averaged over coils as power: √(tr Ψ / 2C)."""
    return float((covariance.diagonal().real.mean() / 2).clamp_min(0).sqrt())


def estimate_noise(
    kspace: Tensor,
    sampled: Tensor,
    source: Literal["auto", "edges", "background"] = "auto",
) -> NoiseEstimate | None:
    """Estimate the noise of a scan from the scan itself.

    ``edges`` takes the corners of k-space, outside the ellipse that touches the outermost sampled rows and columns:
    sampled, but nearly without signal. ``background`` transforms along the readout and takes the ends of the field of
    view, where there is air; that holds for undersampled scans too, whose images alias along x alone. Both use a
    robust covariance that ignores outliers. Signal where none should be makes either too large; the receiver's filter
    makes the background too small, where readout oversampling was not removed. So ``auto`` looks at the background
    if it is as strong at the very ends as further in. Where both agree up to chance, their samples are taken together:
    on a small matrix either alone is few, and the air holds none of the signal that the corners there still have.
    Where one is larger by a tenth beyond chance, there is signal in it, and the other is believed.

    Entries that were never sampled say nothing: masked and zero-padded ones are left out by ``sampled``, and so are
    rows and columns that are zero throughout.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    sampled
        bool, (x,) or (y, x): the sampled columns, or entries.
    source
        Where to look.

    Returns
    -------
    NoiseEstimate or None
        None when there are too few samples where noise can be looked for.
    """
    coils, rows, columns = kspace.shape
    entries = sampled.expand(rows, columns) if sampled.ndim == 1 else sampled
    there = (kspace != 0).any(0)
    entries = entries & there.any(1, keepdim=True) & there.any(0)
    corners = None if source == "background" else kspace[:, _corners(entries, coils)]
    strips = None if source == "edges" else _background(kspace, entries)
    edges = None if corners is None else _estimate(corners, "edges")
    if strips is None or (edges is not None and not _flat(strips)):
        return edges
    air = strips.flatten(1)
    background = _estimate(air, "background")
    if edges is None or background is None or corners is None:
        return edges if background is None else background
    difference = background.sigma / edges.sigma - 1
    if abs(difference) > _AGREEMENT + 4 * math.hypot(edges.uncertainty, background.uncertainty):
        return background if difference < 0 else edges
    return _estimate(torch.cat((corners, air), dim=1), "edges and background")


def outermost_noise(samples: Tensor, radius: Tensor) -> NoiseEstimate | None:
    """Estimate the noise of a non-Cartesian scan from the samples farthest out, where there is nearly no signal.

    Parameters
    ----------
    samples
        complex64, (coil, n).
    radius
        Distance of each from the centre of k-space, (n,).

    Returns
    -------
    NoiseEstimate or None
        None when there are too few samples; an upper bound where signal reaches out so far.
    """
    coils, count = samples.shape
    taken = min(count // 5, max(count // 20, _ENOUGH * coils, _LEAST))
    return _estimate(samples[:, radius.topk(taken).indices], "edges")


def _estimate(samples: Tensor, source: NoiseSource) -> NoiseEstimate | None:
    coils, count = samples.shape
    if count < SAMPLES_PER_COIL * coils:
        return None
    covariance = robust_covariance(samples)
    everything = noise_covariance(samples).diagonal().real.sum()
    typical = covariance.diagonal().real.sum()
    excess = float(everything / typical - 1) if typical > 0 else 0.0
    return NoiseEstimate(covariance=covariance, source=source, samples=count, excess=excess)


def _flat(strips: Tensor) -> bool:
    """Whether the samples (coil, 2 n, x) of both ends of the field of view are as strong outside as further in."""
    before, after = strips.chunk(2, dim=1)
    half = before.shape[1] // 2
    outer = torch.cat((before[:, :half], after[:, -half:]), dim=1).abs().square().flatten(1).median(1).values.mean()
    inner = torch.cat((before[:, half:], after[:, :-half]), dim=1).abs().square().flatten(1).median(1).values.mean()
    spread = 4 / (strips.numel() / 2) ** 0.5  # what chance allows
    return abs(float(outer / inner) - 1) < _FLATNESS + spread


def _background(kspace: Tensor, entries: Tensor) -> Tensor | None:
    """Return samples from the ends of the field of view along the readout, on columns away from the centre.

    Complex64, (coil, 2 n, x), half of the rows from either end, as strong as the noise of one entry of k-space; None
    where the image aliases along the readout.
    """
    rows, columns = entries.shape
    measured = entries.sum(0)
    distance = (torch.arange(columns, device=entries.device) - columns // 2).abs()
    if not bool(measured.any()):
        return None
    reach = int(distance[measured > 0].max())
    # A column that lacks other rows than its neighbours aliases along y, and has no air there.
    usable = (measured == measured.max()) & (distance > _CENTRAL_COLUMNS * reach)
    patterns = entries[:, usable]
    if patterns.shape[1] == 0 or not contiguous(patterns[:, 0]) or bool((patterns != patterns[:, :1]).any()):
        return None
    window = _window(patterns[:, 0])
    along = torch.fft.ifftshift(kspace[..., usable] * window[:, None], dim=-2)
    hybrid = torch.fft.fftshift(torch.fft.ifft(along, dim=-2, norm="ortho"), dim=-2)
    first, last = (round(fraction * rows) for fraction in _EDGE_STRIP)
    strips = torch.cat((hybrid[:, first:last], hybrid[:, rows - last : rows - first]), dim=1)
    # The transform spreads the noise of the sampled rows over all rows of the image.
    return strips / window.square().mean().sqrt()


def _window(sampled: Tensor) -> Tensor:
    """Return ones; or, where rows are missing, a window over the others that keeps signal from ringing into air."""
    count = int(sampled.sum())
    window = sampled.float()
    if count < len(sampled):
        window[sampled] = torch.hann_window(count + 2, periodic=False, device=sampled.device)[1:-1]
    return window


def _corners(entries: Tensor, coils: int) -> Tensor:
    """Return the outermost of the entries beyond the ellipse through the last rows and columns, bool, (y, x)."""
    distances = []
    for axis in (0, 1):
        size = entries.shape[axis]
        distance = (torch.arange(size, device=entries.device) - size // 2).abs().double()
        there = entries.any(1 - axis)
        reach = distance[there].max() if bool(there.any()) else distance.max()
        distances.append((distance / reach.clamp_min(1)).square())
    radius = (distances[0][:, None] + distances[1]).masked_fill(~entries, 0)
    outside = radius > 1
    count = int(outside.sum())
    enough = min(count, max(round(_OUTERMOST * count), _ENOUGH * coils, _LEAST))
    if enough == 0:
        return outside
    return outside & (radius >= radius.flatten().topk(enough).values[-1])
