"""The same multi-coil scan in other packages: their forward and adjoint, for tests of agreement and of speed."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Peer:
    """A package's scan of a batch.

    Attributes
    ----------
    name
        The package and its version.
    round_trip
        Applies forward and adjoint to the package's own form of the image.
    image
        Turns what `round_trip` returns to ``(b, 1, y, x)`` complex.
    """

    name: str
    round_trip: Callable[[], Any]
    image: Callable[[Any], Tensor]


def peers(mask: Tensor, maps: Tensor, image: Tensor) -> tuple[list[Peer], list[str]]:
    """Build the scan in every package that is installed.

    Parameters
    ----------
    mask
        Boolean ``(b, 1, 1, x)``.
    maps
        Complex64 ``(b, coil, y, x)``.
    image
        Complex64 ``(b, 1, y, x)``.

    Returns
    -------
    tuple[list[Peer], list[str]]
        The peers, and a sentence for each that is absent.
    """
    found, skipped = [], []
    for module, build in (("sigpy", _sigpy), ("fastmri", _fastmri), ("mrpro", _mrpro), ("deepinv", _deepinv)):
        try:
            package = importlib.import_module(module)
            version = getattr(package, "__version__", "")
            found.append(Peer(f"{module} {version}".strip(), *build(mask, maps, image)))
        except ImportError as error:
            skipped.append(f"skipped {module}: {error} (pip install 'rsd_med[peers]')")
    return found, skipped


Parts = tuple[Callable[[], Any], Callable[[Any], Tensor]]


def _sigpy(mask: Tensor, maps: Tensor, image: Tensor) -> Parts:
    from sigpy import linop

    coils = linop.Multiply(image.shape, maps.numpy())
    fourier = linop.FFT(coils.oshape, axes=(-2, -1))
    scan = linop.Multiply(fourier.oshape, mask.numpy().astype("float32")) * fourier * coils
    adjoint, array = scan.H, image.numpy()
    return lambda: adjoint(scan(array)), torch.from_numpy


def _fastmri(mask: Tensor, maps: Tensor, image: Tensor) -> Parts:
    """As in fastMRI's VarNetBlock: expand, transform, mask; transform back, reduce."""
    import fastmri

    real_maps, real_image, weights = torch.view_as_real(maps), torch.view_as_real(image), mask.float()[..., None]

    def round_trip() -> Tensor:
        kspace = fastmri.fft2c(fastmri.complex_mul(real_image, real_maps)) * weights
        coil_images = fastmri.ifft2c(kspace * weights)
        combined: Tensor = fastmri.complex_mul(coil_images, fastmri.complex_conj(real_maps)).sum(dim=1, keepdim=True)
        return combined

    return round_trip, torch.view_as_complex


def _mrpro(mask: Tensor, maps: Tensor, image: Tensor) -> Parts:
    from mrpro.operators import CartesianMaskingOp, FastFourierOp, SensitivityOp

    scan = CartesianMaskingOp(mask[:, :, None].expand(*maps.shape[:2], 1, *maps.shape[2:]))
    operator = scan @ FastFourierOp(dim=(-2, -1)) @ SensitivityOp(maps[:, :, None])
    adjoint, volume = operator.H, image[:, :, None]
    return lambda: adjoint(*operator(volume))[0], lambda result: result[:, :, 0]


def _deepinv(mask: Tensor, maps: Tensor, image: Tensor) -> Parts:
    from deepinv.physics import MultiCoilMRI

    shape = (len(mask), 2, *image.shape[-2:])
    physics = MultiCoilMRI(mask=mask.expand(shape).float(), coil_maps=maps, img_size=tuple(shape[1:]))
    channels = torch.cat((image.real, image.imag), dim=1)
    return lambda: physics.A_adjoint(physics.A(channels)), lambda result: torch.complex(result[:, :1], result[:, 1:])


if __name__ == "__main__":
    sys.exit(0)  # a part of benchmarks.operators
