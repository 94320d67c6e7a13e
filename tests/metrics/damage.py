"""Known damage to images in [-1, 1], and a synthetic set with countable modes: what a distance must react to."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(view: Tensor, sigma: float) -> Tensor:
    """Complex noise of ``sigma`` per component on a magnitude (Rician), or real noise on a colour image."""
    real, imaginary = (sigma * torch.randn(view.shape, generator=generator(seed)) for seed in (11, 12))
    if view.shape[1] == 3:
        return view + real
    return 2 * torch.hypot((view + 1 + real) / 2, imaginary / 2) - 1


def blurred(view: Tensor, width: float) -> Tensor:
    radius = math.ceil(3 * width)
    line = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * width**2))
    channels = view.shape[1]
    rows = (line / line.sum()).expand(channels, 1, 1, -1)
    padded = F.pad(view, [radius] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, rows, groups=channels), rows.mT, groups=channels)


def aliased(view: Tensor, acceleration: int) -> Tensor:
    """The zero-filled reconstruction from random columns, two of them in the middle at least."""
    width = view.shape[-1]
    acs = max(2, round(0.08 * width))
    first = width // 2 - acs // 2
    outside = [x for x in range(width) if not first <= x < first + acs]
    mask = torch.zeros(len(view), 1, 1, width)
    mask[..., first : first + acs] = 1
    order = torch.rand(len(view), len(outside), generator=generator(13)).argsort(1)[:, : width // acceleration - acs]
    mask[:, 0, 0].scatter_(1, torch.tensor(outside)[order], 1.0)
    kspace = torch.fft.fftshift(torch.fft.fft2((view + 1) / 2), dim=(-2, -1))
    return 2 * torch.fft.ifft2(torch.fft.ifftshift(kspace * mask, dim=(-2, -1))).abs() - 1


def scaled(view: Tensor, factor: float) -> Tensor:
    return (view + 1) * factor - 1


def shifted(view: Tensor, amount: float) -> Tensor:
    return view + amount


LADDERS = {
    "noise": (noisy, (0.1, 0.2, 0.4)),
    "blur": (blurred, (0.8, 1.2, 1.8)),
    "aliasing": (aliased, (2, 3, 4, 6)),
    "brighter": (scaled, (1.2, 1.4)),
    "darker": (scaled, (0.8, 0.6)),
    "offset": (shifted, (0.2, 0.4)),
}


def keep_modes(images: Tensor, labels: Tensor, kept: int, count: int) -> Tensor:
    """``count`` images of ``kept`` of the modes, nested: fewer modes are a subset of more. Repeats if they run out."""
    modes = labels.unique()
    chosen = modes[torch.randperm(len(modes), generator=generator(3))[:kept]]
    index = torch.isin(labels, chosen).nonzero()[:, 0]
    return images[index.repeat(-(-count // len(index)))[:count]]


def ellipses(count: int, modes: int, seed: int, size: int = 32) -> tuple[Tensor, Tensor]:
    """Heads with a lesion whose direction is the mode: ``(N, 1, size, size)`` in [-1, 1] and the modes ``(N,)``."""
    drawn = generator(seed)
    mode = torch.randint(0, modes, (count,), generator=drawn)
    u = torch.rand(count, 36, generator=drawn).T
    axis = torch.linspace(-1, 1, size)

    def ellipse(cx: Tensor, cy: Tensor, rx: Tensor, ry: Tensor, turn: Tensor, value: Tensor) -> Tensor:
        cx, cy, rx, ry, turn, value = (p[:, None, None] for p in (cx, cy, rx, ry, turn, value))
        dx, dy = axis - cx, axis[:, None] - cy
        along = (turn.cos() * dx + turn.sin() * dy) / rx
        across = (turn.cos() * dy - turn.sin() * dx) / ry
        return value * torch.sigmoid(8 * (1 - along**2 - across**2))

    image = ellipse(
        0.1 * u[0] - 0.05, 0.1 * u[1] - 0.05, 0.6 + 0.15 * u[2], 0.75 + 0.15 * u[3], 0.4 * u[4] - 0.2, 0.5 + 0.2 * u[5]
    )
    direction = mode * (2 * math.pi / modes)
    image += ellipse(
        0.35 * direction.cos() + 0.1 * u[6],
        0.35 * direction.sin() + 0.1 * u[7],
        0.1 + 0.1 * u[8],
        0.1 + 0.15 * u[9],
        3 * u[10],
        0.2 + 0.2 * u[11],
    )
    for k in range(12, 30, 6):
        image += ellipse(
            0.8 * u[k] - 0.4,
            0.8 * u[k + 1] - 0.4,
            0.05 + 0.1 * u[k + 2],
            0.05 + 0.1 * u[k + 3],
            3 * u[k + 4],
            0.3 * u[k + 5] - 0.1,
        )
    return 2 * image.clamp(0, 1)[:, None] - 1, mode
