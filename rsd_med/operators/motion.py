"""Rigid motion while k-space is measured: every shot sees the object in another pose."""

import math
from typing import ClassVar

import torch
from jaxtyping import Inexact
from torch import Tensor

from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.linear import LinearOperator


class ShotMotion(LinearOperator):
    """What becomes of an image whose object moves between the shots of its k-space: ``F^H sum_s M_s T_s F R_s``.

    R_s turns the object as it lay during shot s, T_s moves it (a phase ramp in k-space), M_s are the columns that the
    shot measures. Linear, for the motion is known; without turns it is unitary. Turns are three shears, each a shift of
    every row or column by its own phase ramp: exact, unitary, and undone by their own adjoint; the image continues
    periodically. A real image gives the real part, and the adjoint is that of the real-linear map.

    Parameters
    ----------
    shot
        Which shot measures each column, integer ``(b, x)`` in centred order, from 0 on.
    shift
        Where the object lies during each shot, relative to the image: ``(b, shots, 2)`` in pixels, along y and x.
    angle
        How far it is turned about the centre, pixel n // 2, during each shot: ``(b, shots)`` in radians, from y to x.

    Raises
    ------
    ValueError
        If shapes or types do not fit.

    References
    ----------
    Batchelor et al., Matrix description of general motion correction applied to multishot images, Magn. Reson. Med. 54,
    2005, eq. 3; turns by shears: Unser, Thévenaz, Yaroslavsky, IEEE Trans. Image Process. 4, 1995; in the Fourier
    domain: Larkin, Oldfield, Klemm, Opt. Commun. 139, 1997.
    """

    item_tensors: ClassVar[dict[str, int]] = {"shot": 1, "shift": 2, "angle": 1}

    def __init__(self, shot: Tensor, shift: Tensor, angle: Tensor) -> None:
        if shot.is_floating_point() or shot.ndim != 2:
            raise ValueError(
                f"The shots of columns are integers of shape (b, x), not {shot.dtype} of shape {tuple(shot.shape)}."
            )
        if shift.shape != (*angle.shape, 2) or angle.ndim != 2 or len(angle) != len(shot):
            raise ValueError(
                f"Shifts (b, shots, 2) and angles (b, shots) are needed for {len(shot)} items, not "
                f"{tuple(shift.shape)} and {tuple(angle.shape)}."
            )
        self.shot = shot
        self.shift = shift
        self.angle = angle

    def forward(self, x: Inexact[Tensor, "b c y x"]) -> Inexact[Tensor, "b c y x"]:
        """Move images ``(b, channels, y, x)``, real or complex."""
        image = self._complex(x)
        if not bool(self.angle.any()):
            kspace = fft2c(image)
        else:
            kspace = torch.zeros_like(image)
            for number in range(self.angle.shape[1]):
                kspace += fft2c(turned(image, self.angle[:, number])).masked_fill(self._others(number), 0)
        moved = ifft2c(kspace * self._ramps(image))
        return moved if x.is_complex() else moved.real

    def adjoint(self, y: Inexact[Tensor, "b c y x"]) -> Inexact[Tensor, "b c y x"]:
        """Apply the adjoint to images ``(b, channels, y, x)``."""
        image = self._complex(y)
        kspace = fft2c(image) * self._ramps(image).conj()
        if not bool(self.angle.any()):
            result = ifft2c(kspace)
        else:
            result = torch.zeros_like(image)
            for number in range(self.angle.shape[1]):
                result += turned(ifft2c(kspace.masked_fill(self._others(number), 0)), -self.angle[:, number])
        return result if y.is_complex() else result.real

    def _complex(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or len(x) != len(self.shot) or x.shape[-1] != self.shot.shape[-1]:
            raise ValueError(
                f"Images of shape {tuple(x.shape)} do not fit the shots {tuple(self.shot.shape)} of columns."
            )
        return x if x.is_complex() else torch.complex(x, torch.zeros_like(x))

    def _others(self, number: int) -> Tensor:
        """Return the columns that a shot does not measure, ``(b, 1, 1, x)``."""
        return (self.shot != number)[:, None, None]

    def _ramps(self, image: Tensor) -> Tensor:
        """Return ``exp(-2 pi i (k_y s_y / n_y + k_x s_x / n_x))`` by the shift of each column's shot, (b, 1, y, x)."""
        shift = self.shift.to(image.real.dtype).gather(1, self.shot[..., None].expand(-1, -1, 2))
        y, x = (
            (torch.arange(size, device=image.device, dtype=shift.dtype) - size // 2) / size for size in image.shape[-2:]
        )
        turns = y[:, None] * shift[:, None, :, 0] + x * shift[:, None, :, 1]
        return torch.polar(torch.ones_like(turns), -2 * math.pi * turns)[:, None]


def turned(image: Tensor, angle: Tensor) -> Tensor:
    """Turn complex images ``(b, channels, y, x)`` by angles ``(b,)`` in radians about pixel n // 2, y to x; unitary.

    ``(y, x) -> (y cos a - x sin a, y sin a + x cos a)`` is a shear along y by -tan(a / 2), one along x by sin(a), and
    the first once more. The further a turn goes beyond a quarter, the further its shears leave the image: stay below.
    """
    half, full = -torch.tan(angle / 2), torch.sin(angle)
    return _sheared(_sheared(_sheared(image, half, -2), full, -1), half, -2)


def _sheared(image: Tensor, slope: Tensor, axis: int) -> Tensor:
    """Shift every line along an axis (-2 or -1) by slope times its distance from the centre of the other axis."""
    along, across = image.shape[axis], image.shape[-3 - axis]
    distance = torch.arange(across, device=image.device, dtype=image.real.dtype) - across // 2
    frequency = torch.fft.fftfreq(along, device=image.device, dtype=image.real.dtype)
    shift = slope.to(image.real.dtype).reshape(-1, 1, 1, 1) * (distance[:, None] if axis == -1 else distance)
    turns = shift * (frequency if axis == -1 else frequency[:, None])
    ramp = torch.polar(torch.ones_like(turns), -2 * math.pi * turns)
    return torch.fft.ifft(torch.fft.fft(image, dim=axis) * ramp, dim=axis)
