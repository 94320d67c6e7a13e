"""Coil sensitivity maps from the fully sampled centre of k-space."""

import hashlib
import logging
import os
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.settings import Settings
from rsd_med.calibration.scale import central_run
from rsd_med.operators.fourier import ifft2c

_log = logging.getLogger(__name__)

_BAND_ELEMENTS = 1 << 22
"""Covariance entries held at once by ``walsh``."""

_VERSION = "1"
"""Part of every cache key: raise it when the maps change for the same settings."""

MIN_ESPIRIT_WIDTH = 12
"""Narrowest centre that ``auto`` trusts ESPIRiT with; below, its kernels see too few neighbourhoods."""


class CoilMapSettings(Settings):
    """How coil maps are found.

    Attributes
    ----------
    kind
        ``file`` takes the maps stored with the scan, ``espirit`` and ``walsh`` estimate them, ``ones`` does without
        (single coil). ``auto`` takes the first that applies: one coil → ones; maps in the file → file; a centre of at
        least 12 lines → espirit; else walsh.
    calibration_width
        Widest central square that is used.
    kernel_width
        ESPIRiT's kernel; made smaller when the centre is.
    threshold
        Singular values below this fraction of the largest belong to noise (ESPIRiT).
    crop
        Pixels whose ESPIRiT eigenvalue lies below hold no signal: their maps are zero.
    iterations
        Power iterations of ESPIRiT.
    walsh_patch
        Side, in pixels, of the neighbourhood over which ``walsh`` averages; an even one counts as the next odd one.
    walsh_support
        Pixels darker than this fraction of the brightest hold no signal (``walsh``).
    cache
        Keep ESPIRiT's maps on disk; the second run starts at once.
    cache_dir
        Where; None is ``rsd_med`` in the user's cache folder.
    """

    kind: Literal["auto", "espirit", "walsh", "file", "ones"] = "auto"
    calibration_width: int = Field(default=24, ge=4, le=128)
    kernel_width: int = Field(default=6, ge=2, le=16)
    threshold: float = Field(default=0.02, gt=0, lt=1)
    crop: float = Field(default=0.95, ge=0, lt=1)
    iterations: int = Field(default=30, ge=1)
    walsh_patch: int = Field(default=9, ge=1)
    walsh_support: float = Field(default=0.02, ge=0, lt=1)
    cache: bool = True
    cache_dir: str | None = None


def coil_maps(
    kspace: Tensor, sampled: Tensor, settings: CoilMapSettings | None = None, stored: Tensor | None = None
) -> Tensor:
    """Return the coil maps of one slice, from what was measured of it.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    sampled
        bool, (x,): the sampled columns. Only columns of the fully sampled centre are looked at.
    settings
        How; None takes the defaults.
    stored
        Maps stored with the scan, complex64, (coil, y, x).

    Returns
    -------
    Tensor
        complex64, (coil, y, x), with Σ|S|² = 1 inside the support and 0 outside.

    Raises
    ------
    DataError
        If the scan cannot give maps of this kind: none are stored, the centre is missing, it has several coils and
        ``ones`` is asked for.
    """
    settings = settings if settings is not None else CoilMapSettings()
    coils, rows, columns = kspace.shape
    width = min(settings.calibration_width, _square_width(sampled, rows))
    kind = _choose(settings.kind, coils, stored is not None, width)
    if kind == "file":
        if stored is None:
            raise DataError(
                "The scan holds no coil maps ('sensitivity_maps'); estimate them with coil_maps.kind: auto."
            )
        return normalised(stored)
    if kind == "ones":
        if coils != 1:
            raise DataError(f"The scan has {coils} coils, which need maps; set coil_maps.kind: auto.")
        return torch.ones(1, rows, columns, dtype=torch.complex64)
    if width < 2:
        raise DataError(
            "The centre of k-space was not sampled, so coil maps cannot be estimated; measure central (ACS) lines or "
            "store the maps with the scan."
        )
    calibration = kspace[..., _dc_window(rows, width), _dc_window(columns, width)].to(torch.complex64)
    if not bool(calibration.any()):
        raise DataError("The centre of k-space is zero, so coil maps cannot be estimated; remove the slice.")
    if kind == "walsh":
        return walsh(calibration, (rows, columns), settings.walsh_patch, settings.walsh_support)
    maps = _cached_espirit(calibration, (rows, columns), settings)
    if not bool(maps.any()):
        if settings.kind == "espirit":
            raise DataError(
                f"No pixel passes ESPIRiT's threshold (coil_maps.crop: {settings.crop}); lower it, or use walsh."
            )
        return walsh(calibration, (rows, columns), settings.walsh_patch, settings.walsh_support)
    return maps


def espirit(
    calibration: Tensor,
    shape: tuple[int, int],
    kernel_width: int = 6,
    threshold: float = 0.02,
    crop: float = 0.95,
    iterations: int = 30,
) -> Tensor:
    """Estimate coil maps by ESPIRiT (Uecker et al., Magn. Reson. Med. 71, 2014), as implemented in sigpy.

    Parameters
    ----------
    calibration
        Centre of k-space, complex64, (coil, w, w), with the zero frequency at ``w // 2``.
    shape
        Image size (y, x).
    kernel_width
        Side of the kernels; made smaller when the centre gives too few neighbourhoods.
    threshold
        Fraction of the largest singular value below which a singular vector counts as noise.
    crop
        Eigenvalue below which a pixel lies outside the support.
    iterations
        Power iterations.

    Returns
    -------
    Tensor
        complex64, (coil, y, x), Σ|S|² = 1 inside the support, 0 outside; phase as :func:`common_phase` sets it.
    """
    import sigpy
    from sigpy.mri.app import EspiritCalib

    coils, width = calibration.shape[0], calibration.shape[-1]
    kernel = _fitting_kernel(kernel_width, width)
    # The maps do not depend on the units of k-space; unit size keeps float32 away from its limits.
    unit = (calibration / calibration.abs().max()).numpy(force=True)
    kspace = sigpy.resize(unit, (coils, *shape))
    # Where sigpy's reference coil sees nothing its phase is 0/0; phases are set anew below.
    with np.errstate(divide="ignore", invalid="ignore"):
        maps, eigenvalues = EspiritCalib(
            kspace,
            calib_width=width,
            thresh=threshold,
            kernel_width=kernel,
            crop=0,
            max_iter=iterations,
            output_eigenvalue=True,
            show_pbar=False,
        ).run()
    estimate = torch.from_numpy(np.nan_to_num(maps).astype(np.complex64)) * torch.from_numpy(eigenvalues > crop)
    return common_phase(normalised(estimate), calibration)


def walsh(calibration: Tensor, shape: tuple[int, int], patch: int = 9, support: float = 0.02) -> Tensor:
    """Estimate coil maps from local coil covariances of the low-resolution image: fast, and content with few lines.

    The map at a pixel is the dominant eigenvector of the coil covariance averaged over its neighbourhood (Walsh,
    Gmitro and Marcellin, Magn. Reson. Med. 43, 2000).

    Parameters
    ----------
    calibration
        Centre of k-space, complex64, (coil, w, w), with the zero frequency at ``w // 2``.
    shape
        Image size (y, x).
    patch
        Side of the neighbourhood in pixels; an even one counts as the next odd one.
    support
        Fraction of the brightest pixel below which a pixel lies outside the support.

    Returns
    -------
    Tensor
        complex64, (coil, y, x), Σ|S|² = 1 inside the support, 0 outside; phase as :func:`common_phase` sets it.
    """
    width = calibration.shape[-1]
    window = torch.hann_window(width + 2, periodic=False)[1:-1]  # without it, the square's edges ring in the image
    kspace = calibration.new_zeros(calibration.shape[0], *shape)
    kspace[..., _dc_window(shape[0], width), _dc_window(shape[1], width)] = calibration * window[:, None] * window
    image = ifft2c(kspace / calibration.abs().max())
    maps = _dominant(image, patch | 1)
    magnitude = image.abs().square().sum(0).sqrt()
    inside = magnitude > support * magnitude.max()
    return common_phase(normalised(maps * inside), calibration)


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
    seen = torch.einsum("c,cyx->yx", weights.conj(), maps)
    size = seen.abs()
    return maps * torch.where(size > 0, seen.conj() / size.clamp_min(torch.finfo(torch.float32).tiny), 1)


def _choose(kind: str, coils: int, stored: bool, width: int) -> str:
    if kind != "auto":
        return kind
    if coils == 1:
        return "ones"
    if stored:
        return "file"
    return "espirit" if width >= MIN_ESPIRIT_WIDTH else "walsh"


def _dc_window(size: int, width: int) -> slice:
    """Return the window whose index ``width // 2`` is the zero frequency."""
    start = size // 2 - width // 2
    return slice(start, start + width)


def _square_width(sampled: Tensor, rows: int) -> int:
    """Return the widest square about the zero frequency that is fully sampled."""
    columns = sampled.shape[-1]
    width = min(central_run(sampled), rows)
    # The two conventions for the middle of an even window differ by a line where the matrix is odd.
    while width > 0 and not bool(sampled[_dc_window(columns, width)].all()):
        width -= 1
    return width


def _fitting_kernel(kernel: int, width: int) -> int:
    """Shrink the kernel until the centre holds at least as many neighbourhoods as the kernel has entries."""
    while kernel > 2 and (width - kernel + 1) < kernel:
        kernel -= 1
    return kernel


def _dominant(image: Tensor, patch: int) -> Tensor:
    """Return, at every pixel, the dominant eigenvector of the coil covariance over a patch, (coil, y, x).

    Works in bands of rows: the covariances of all pixels at once would take coil² times the memory of the image.
    """
    coils, rows, columns = image.shape
    halo = patch // 2
    band = max(1, _BAND_ELEMENTS // (columns * coils**2))
    bands = []
    for first in range(0, rows, band):
        last = min(first + band, rows)
        top = max(first - halo, 0)
        part = image[:, top : last + halo]
        products = torch.view_as_real(part[:, None] * part.conj()[None]).movedim(-1, 0).flatten(0, 2)
        # Edges average over fewer pixels than they divide by, which scales a covariance and not its eigenvectors.
        mean = torch.nn.functional.avg_pool2d(products, patch, stride=1, padding=halo)
        mean = mean[:, first - top : last - top, :columns].unflatten(0, (2, coils, coils))
        covariance = torch.complex(mean[0], mean[1]).permute(2, 3, 0, 1)
        bands.append(torch.linalg.eigh(covariance).eigenvectors[..., -1])
    return torch.cat(bands).permute(2, 0, 1)


def _cached_espirit(calibration: Tensor, shape: tuple[int, int], settings: CoilMapSettings) -> Tensor:
    def compute() -> Tensor:
        return espirit(
            calibration, shape, settings.kernel_width, settings.threshold, settings.crop, settings.iterations
        )

    if not settings.cache:
        return compute()
    path = _cache_path(calibration, shape, settings)
    maps = _load(path, (calibration.shape[0], *shape))
    if maps is None:
        maps = compute()
        _store(path, maps)
    return maps


def _cache_path(calibration: Tensor, shape: tuple[int, int], settings: CoilMapSettings) -> Path:
    how = (settings.kernel_width, settings.threshold, settings.crop, settings.iterations)
    digest = hashlib.blake2b(repr((_VERSION, tuple(calibration.shape), shape, how)).encode(), digest_size=16)
    digest.update(calibration.contiguous().numpy(force=True).tobytes())
    return cache_folder(settings.cache_dir) / "coil_maps" / f"{digest.hexdigest()}.safetensors"


def cache_folder(folder: str | None = None) -> Path:
    """Return the folder for what can be computed again.

    Parameters
    ----------
    folder
        The user's choice; None is ``rsd_med`` below ``$XDG_CACHE_HOME``, by default ``~/.cache``.

    Returns
    -------
    Path
        The folder, which need not exist yet.
    """
    if folder is not None:
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "rsd_med"


def _load(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """Return cached maps, or None when there are none that can be used."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        maps = load(path.read_bytes()).get("maps")
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    if maps is None or maps.dtype != torch.complex64 or tuple(maps.shape) != shape:
        return None
    return maps if bool(torch.isfinite(torch.view_as_real(maps)).all()) else None


def _store(path: Path, maps: Tensor) -> None:
    """Write maps under their final name only when they are whole; a cache that cannot be written is done without."""
    from safetensors.torch import save

    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".partial", delete=False) as file:
            name = file.name
            file.write(save({"maps": maps.contiguous()}))
        os.replace(name, path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        _log.warning("Coil maps cannot be cached (%s); they are computed anew in every run.", error.strerror)
