"""Coil sensitivity maps from what was measured: which kind, which kernel, how many sets."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.calibration.espirit import EigenMaps, espirit_eigenmaps
from rsd_med.calibration.map_cache import cached
from rsd_med.calibration.map_settings import FEW_LINES, CoilMapSettings
from rsd_med.calibration.nlinv import nlinv_maps
from rsd_med.calibration.phase import orthonormal
from rsd_med.calibration.quality import centre_image, map_quality
from rsd_med.calibration.scale import central_width, dc_window
from rsd_med.calibration.walsh import walsh_maps

MapKind = Literal["espirit", "nlinv", "walsh", "file", "ones"]

SMALL_KERNELS = ((4, 0.8), (3, 0.5))
"""Kernel and crop, at most, of ESPIRiT on centres of few lines: large kernels find too few neighbourhoods."""

TWO_SETS_CROP = 0.8
"""Crop of ``auto``, at most, with two sets: a head that wraps around gains 0.4 dB over 0.95 at R = 2."""

NEAR_ONE, NEEDED = 0.9, 0.01
"""Second eigenvalues that say that two places fall on a pixel, and the part of the signal there that asks for two sets.

Two heads and a bottle inside their fields of view: 0.000; a head cut by 10, 20, 30, 40 %: 0.001, 0.07, 0.22, 0.41.
"""


@dataclass(frozen=True)
class ChosenMaps:
    """The coil maps of a scan and how they came about.

    Attributes
    ----------
    maps
        complex64, (set, coil, y, x), orthonormal at each pixel: Σ|S|² = 1 inside the support, 0 outside.
    kind
        ``espirit``, ``nlinv``, ``walsh``, ``file`` or ``ones``.
    kernel_width, crop
        Of ESPIRiT; None for other kinds.
    second_eigenvalue
        Part of the signal where ESPIRiT's second eigenvalue is near 1: there two places of the object fall on one
        pixel, and one set of maps is wrong. None where ESPIRiT was not asked or cannot tell.
    """

    maps: Tensor
    kind: MapKind
    kernel_width: int | None = None
    crop: float | None = None
    second_eigenvalue: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return what a report says of them."""
        return {
            "kind": self.kind,
            "sets": len(self.maps),
            "kernel_width": self.kernel_width,
            "crop": self.crop,
            "second_eigenvalue": self.second_eigenvalue,
        }


def chosen_maps(
    kspace: Tensor,
    sampled: Tensor,
    settings: CoilMapSettings | None = None,
    stored: Tensor | None = None,
    sigma: float = 0.0,
) -> ChosenMaps:
    """Return the coil maps of one slice, from what was measured of it.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    sampled
        bool, (x,) or (y, x): the sampled columns, or entries. Only the fully sampled central square is looked at,
        but by NLINV.
    settings
        How; None takes the defaults.
    stored
        Maps of a file, complex64, (coil, y, x) or (set, coil, y, x).
    sigma
        Noise per real component of ``kspace``; 0 where it is not known.

    Raises
    ------
    DataError
        If the scan cannot give maps of this kind: none are stored, the centre is missing, it has several coils and
        ``ones`` is asked for.
    """
    settings = settings if settings is not None else CoilMapSettings()
    coils, rows, columns = kspace.shape
    width = min(settings.calibration_width, central_width(sampled, rows))
    kind = _first_that_applies(settings.kind, coils, stored is not None)
    if kind == "file":
        return _stored(stored, settings)
    if kind == "ones":
        if coils != 1:
            raise DataError(f"The scan has {coils} coils, which need maps; set calibration.maps.kind: auto.")
        return ChosenMaps(torch.ones(1, 1, rows, columns, dtype=torch.complex64), "ones")
    if width < 2:
        raise DataError(
            "The centre of k-space was not sampled, so coil maps cannot be estimated; measure central (ACS) lines or "
            "name a file of maps (calibration.maps.file)."
        )
    calibration = kspace[..., dc_window(rows, width), dc_window(columns, width)].to(torch.complex64)
    if not bool(calibration.any()):
        raise DataError("The centre of k-space is zero, so coil maps cannot be estimated; remove the slice.")
    centre = _Centre(calibration, (rows, columns), sigma)
    if kind == "walsh":
        return _walsh(centre, settings)
    if kind == "nlinv":
        return ChosenMaps(nlinv_maps(kspace, sampled)[None], "nlinv")
    if kind == "espirit":
        chosen = _espirit(centre, settings, settings.kernel_width, settings.crop, settings.crop)
        if not bool(chosen.maps.any()):
            raise DataError(
                f"No pixel passes ESPIRiT's threshold (calibration.maps.crop: {settings.crop}); lower it, or use nlinv."
            )
        return chosen
    tried = []
    for chosen in _in_turn(kspace, sampled, centre, settings):
        if map_quality(chosen.maps, kspace, sampled, sigma or None).explains:
            return chosen
        tried.append(chosen)
    return min(tried, key=lambda chosen: map_quality(chosen.maps, kspace, sampled).residual)


def _in_turn(kspace: Tensor, sampled: Tensor, centre: "_Centre", settings: CoilMapSettings) -> Iterator[ChosenMaps]:
    """Yield what ``auto`` tries, the best guess first.

    A small centre can leave ESPIRiT blind to half of the object. Its residual on that centre then says little: of five
    lines, it was smaller for ESPIRiT's maps, of which L1-wavelet's image was 3 dB worse.
    """
    width = centre.kspace.shape[-1]
    if width >= FEW_LINES:
        crop = min(settings.crop, TWO_SETS_CROP)
        yield _espirit(centre, settings, settings.kernel_width, settings.crop, crop)
    if settings.sets != 2:
        yield ChosenMaps(nlinv_maps(kspace, sampled)[None], "nlinv")
    if width < FEW_LINES:
        for kernel, most in SMALL_KERNELS:
            crop = min(settings.crop, most)
            yield _espirit(centre, settings, min(settings.kernel_width, kernel), crop, min(crop, TWO_SETS_CROP))
    if settings.sets != 2:
        yield _walsh(centre, settings)


def _first_that_applies(kind: str, coils: int, stored: bool) -> str:
    """Return the kind asked for; for ``auto`` the first that needs no estimate, else ``auto``."""
    if kind != "auto":
        return kind
    if coils == 1:
        return "ones"
    return "file" if stored else "auto"


def _stored(stored: Tensor | None, settings: CoilMapSettings) -> ChosenMaps:
    if stored is None:
        raise DataError(
            "The scan holds no coil maps ('sensitivity_maps'); name a file of them (calibration.maps.file), or "
            "estimate them with calibration.maps.kind: auto."
        )
    sets = stored if stored.ndim == 4 else stored[None]
    if settings.sets != "auto":
        if len(sets) < settings.sets:
            raise DataError("The file holds one set of coil maps, and calibration.maps.sets asks for 2; set 1 or auto.")
        sets = sets[: settings.sets]
    return ChosenMaps(orthonormal(sets), "file")


@dataclass(frozen=True)
class _Centre:
    """The fully sampled central square of k-space, (coil, w, w), the size of the image, and the noise of the former."""

    kspace: Tensor
    shape: tuple[int, int]
    sigma: float


def _walsh(centre: _Centre, settings: CoilMapSettings) -> ChosenMaps:
    maps = walsh_maps(centre.kspace, centre.shape, settings.walsh_patch, settings.walsh_support)
    return ChosenMaps(maps[None], "walsh")


def _espirit(centre: _Centre, settings: CoilMapSettings, kernel: int, crop: float, two_sets_crop: float) -> ChosenMaps:
    """Return ESPIRiT's maps: of two sets where they are asked for, by the user or by the second eigenvalue."""
    how = (centre.shape, kernel, settings.threshold, settings.iterations, centre.sigma)
    compute = partial(espirit_eigenmaps, centre.kspace, *how)
    eigen = cached(compute, centre.kspace, how, settings.cache_dir) if settings.cache else compute()
    second = _second_eigenvalue(eigen, centre.kspace)
    wanted = settings.sets
    if wanted == "auto":
        wanted = 2 if second is not None and second > NEEDED else 1
    crop = two_sets_crop if wanted == 2 else crop
    maps = eigen.maps(centre.kspace, crop, wanted)
    # Where nothing passes the threshold, a second set would be an image of zeros.
    maps = maps if bool(maps[-1].any()) else maps[:1]
    return ChosenMaps(maps, "espirit", kernel, crop, second)


def _second_eigenvalue(eigen: EigenMaps, calibration: Tensor) -> float | None:
    """Return the part of the signal's energy where the second eigenvalue is near 1; of few coils or lines, None.

    Two coils are explained by two maps whatever they are, and below `FEW_LINES` lines no eigenvalue but the first comes
    near 1.
    """
    if calibration.shape[0] < 3 or calibration.shape[-1] < FEW_LINES:
        return None
    if len(eigen.values) < 2:
        return 0.0
    power = centre_image(calibration, (eigen.values.shape[-2], eigen.values.shape[-1])).square()
    return float(power[eigen.values[1] > NEAR_ONE].sum() / power.sum())
