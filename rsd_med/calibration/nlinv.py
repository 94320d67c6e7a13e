"""Coil maps and image estimated together, from all lines near the centre: for centres too small for other methods.

ESPIRiT and Walsh's method look at the fully sampled centre alone. Of five lines that says little: within a pixel of so
coarse an image coils change. But maps are smooth, so lines beyond the centre tell of them, too, once an image is
estimated along with them: nonlinear inversion (Uecker, Hohage, Block and Frahm, Magn. Reson. Med. 60, 2008).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from rsd_med.calibration.phase import normalised
from rsd_med.calibration.scale import dc_window
from rsd_med.operators.fourier import fft2c, ifft2c

WIDTH, MARGIN = 48, 16
"""Lines near the centre that are looked at, and lines around them that the image has but no datum tells of.

Coils blur k-space, so what is measured near the edge comes from beyond it, too.
"""

BANDWIDTH, ORDER = 8.6, 16
"""A map's frequencies are weighted by (1 + (f / `BANDWIDTH`)²)^-`ORDER`, f in cycles over the field of view.

Bandwidths of 6.5 and 11 cost 0.1 and 0.7 dB at most on two real heads.
"""

SUPPORT = 0.05
"""Signal begins at this part of the 99th percentile of the image."""

PHASE = 8.0
"""Maps take the phase of the image blurred in k-space to so many lines (standard deviation of a Gaussian).

With fewer, phase that turns within a few pixels stays in the image, which is then harder to reconstruct; with more,
aliasing gets into the phase. On one head 3 cost 0.8 dB, on the other 12 cost 0.2.
"""

GROWTH = 1
"""Pixels by which the support grows in every direction: a coarse image has no sharp edges."""

_SIZE = 100.0
"""Norm that the data are scaled to, so that the penalty means the same for every scan."""

_STEPS = 11
"""Newton steps. The penalty begins at 1 and halves with each."""

_INNER, _TOLERANCE = 60, 0.05
"""Iterations of conjugate gradients at most, and the part of the right side that may be left."""


def nlinv_maps(kspace: Tensor, sampled: Tensor) -> Tensor:
    """Estimate coil maps together with an image of low resolution, by a regularised Gauss-Newton method.

    Looks for an image ρ and smooth maps S_c with P F (ρ S_c) = y_c on the sampled entries near the centre. With
    x = (ρ, ŝ) and S_c = F⁻¹ W ŝ_c, a step solves min ‖G dx + P F(ρ S) − y‖² + α ‖x + dx − x₀‖², G the derivative, by
    conjugate gradients. The weights W fall steeply with frequency, so that a small norm of ŝ means smooth maps. x₀ is
    an image of ones and maps of zeros.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    sampled
        bool, (x,) or (y, x).

    Returns
    -------
    Tensor
        complex64, (coil, y, x), Σ|S|² = 1 inside the support, where the image is brighter than `SUPPORT`, 0 outside.
        They carry the slow phase of the object, as other estimates do, taken from the image (`PHASE`).
    """
    shape = (kspace.shape[-2], kspace.shape[-1])
    data, measured = _near_the_centre(kspace, sampled)
    weights = _weights(data)
    solution = _gauss_newton(data, measured, weights)
    maps = ifft2c(weights * solution[1:])
    spectrum = fft2c(solution[:1] * _norm(maps))
    size = ifft2c(_padded(spectrum * _taper(data), shape)).abs()[0]
    inside = size > SUPPORT * size.flatten().sort().values[round(0.99 * (size.numel() - 1))]
    inside = max_pool2d(inside[None, None].float(), 2 * GROWTH + 1, 1, GROWTH)[0, 0] > 0
    blurred = ifft2c(_padded(spectrum * _blur(data), shape))
    turned = torch.polar(torch.ones_like(size), blurred[0].angle())
    return normalised(ifft2c(_padded(weights * solution[1:], shape))) * inside * turned


def _near_the_centre(kspace: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
    """Return the data, (coil, v, u), on a grid about the centre, their norm `_SIZE`, and where they were measured."""
    rows, columns = kspace.shape[-2:]
    down, across = (dc_window(size, min(WIDTH + MARGIN, size)) for size in (rows, columns))
    data = kspace[..., down, across].to(torch.complex64)
    near = [frequencies.abs() <= WIDTH // 2 for frequencies in _frequencies(data)]
    measured = sampled.expand(rows, columns)[down, across] & near[0][:, None] & near[1]
    data = data * measured
    data = data / data.abs().max()  # squares of tiny numbers would be zero
    return data * (_SIZE / data.norm()), measured


def _frequencies(data: Tensor) -> list[Tensor]:
    return [torch.arange(size, device=data.device) - size // 2 for size in data.shape[-2:]]


def _weights(data: Tensor) -> Tensor:
    down, across = (frequencies.div(BANDWIDTH).square() for frequencies in _frequencies(data))
    return (1 + down[:, None] + across) ** -ORDER


def _taper(data: Tensor) -> Tensor:
    """Return a window without which the coarse image would ring into the air."""
    down, across = (torch.hann_window(size + 2, periodic=False, device=data.device)[1:-1] for size in data.shape[-2:])
    return down[:, None] * across


def _blur(data: Tensor) -> Tensor:
    down, across = (frequencies.div(PHASE).square() for frequencies in _frequencies(data))
    return (-(down[:, None] + across) / 2).exp()


def _padded(spectra: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return spectra on the grid of the whole image."""
    whole = spectra.new_zeros(len(spectra), *shape)
    whole[..., dc_window(shape[0], spectra.shape[-2]), dc_window(shape[1], spectra.shape[-1])] = spectra
    return whole


def _norm(maps: Tensor) -> Tensor:
    return maps.abs().square().sum(0, keepdim=True).sqrt()


@dataclass(frozen=True)
class Derivative:
    """G at an image (1, v, u) and maps (coil, v, u): how the data change with both."""

    image: Tensor
    maps: Tensor
    measured: Tensor
    weights: Tensor

    def forward(self, step: Tensor) -> Tensor:
        """Return the change of the data for a step (1 + coil, v, u) of image and ŝ."""
        return self.measured * fft2c(step[:1] * self.maps + self.image * ifft2c(self.weights * step[1:]))

    def adjoint(self, data: Tensor) -> Tensor:
        """Return G^H of data (coil, v, u)."""
        images = ifft2c(self.measured * data)
        combined = (self.maps.conj() * images).sum(0, keepdim=True)
        return torch.cat([combined, self.weights * fft2c(self.image.conj() * images)])

    def solve(self, right: Tensor, penalty: float) -> Tensor:
        """Solve (G^H G + α) dx = right by conjugate gradients."""
        solution, left = torch.zeros_like(right), right
        direction, power = left, float(left.abs().square().sum())
        enough = _TOLERANCE**2 * power
        for _ in range(_INNER):
            if power <= enough:
                break
            product = self.adjoint(self.forward(direction)) + penalty * direction
            length = power / float((direction.conj() * product).real.sum())
            solution, left = solution + length * direction, left - length * product
            before, power = power, float(left.abs().square().sum())
            direction = left + power / before * direction
        return solution


def _gauss_newton(data: Tensor, measured: Tensor, weights: Tensor) -> Tensor:
    """Return the image and ŝ, (1 + coil, v, u)."""
    start = torch.cat([torch.ones_like(data[:1]), torch.zeros_like(data)])
    here, penalty = start, 1.0
    for _ in range(_STEPS):
        there = Derivative(here[:1], ifft2c(weights * here[1:]), measured, weights)
        missing = data - measured * fft2c(there.image * there.maps)
        here = here + there.solve(there.adjoint(missing) + penalty * (start - here), penalty)
        penalty /= 2
    return here
