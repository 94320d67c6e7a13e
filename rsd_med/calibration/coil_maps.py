"""Coil sensitivity maps from the fully sampled centre of k-space."""

import hashlib
import logging
from pathlib import Path
from typing import Literal

import torch
from platformdirs import user_cache_path
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.files import written_aside
from rsd_med.base.settings import Settings
from rsd_med.calibration.espirit import espirit_maps
from rsd_med.calibration.phase import normalised
from rsd_med.calibration.quality import map_quality
from rsd_med.calibration.scale import central_width, dc_window
from rsd_med.calibration.walsh import walsh_maps

_log = logging.getLogger(__name__)

_VERSION = "2"
"""Part of every cache key: raise it when the maps change for the same settings."""

MIN_ESPIRIT_WIDTH = 12
"""Narrowest centre that ``auto`` tries ESPIRiT on; below, its kernels see too few neighbourhoods."""

MapKind = Literal["espirit", "walsh", "file", "ones"]


class CoilMapSettings(Settings):
    """How coil maps are found."""

    kind: Literal["auto", "espirit", "walsh", "file", "ones"] = Field(
        "auto",
        description="`file` takes the maps stored with the scan, `espirit` and `walsh` estimate them, `ones` does "
        "without (single coil). `auto` takes the first that applies: one coil → ones; maps in the file → file; a "
        "centre of at least 12 lines → espirit, if its maps explain the data; else walsh",
    )
    calibration_width: int = Field(24, ge=4, le=128, description="widest central square that is used")
    kernel_width: int = Field(6, ge=2, le=16, description="ESPIRiT's kernel; made smaller when the centre is")
    threshold: float = Field(
        0.02, gt=0, lt=1, description="singular values below this fraction of the largest belong to noise (ESPIRiT)"
    )
    crop: float = Field(
        0.95, ge=0, lt=1, description="pixels whose ESPIRiT eigenvalue lies below hold no signal: their maps are zero"
    )
    iterations: int = Field(64, ge=1, le=4096, description="power iterations of ESPIRiT, rounded up to a power of two")
    walsh_patch: int = Field(
        9,
        ge=1,
        description="side, in pixels, of the neighbourhood over which `walsh` averages; an even one counts as the "
        "next odd one",
    )
    walsh_support: float = Field(
        0.02, ge=0, lt=1, description="pixels darker than this fraction of the brightest hold no signal (`walsh`)"
    )
    cache: bool = Field(True, description="keep ESPIRiT's maps on disk; the second run starts at once")
    cache_dir: str | None = Field(None, description="where; null is `rsd_med` in the user's cache folder")


def chosen_maps(
    kspace: Tensor, sampled: Tensor, settings: CoilMapSettings | None = None, stored: Tensor | None = None
) -> tuple[Tensor, MapKind]:
    """Return the coil maps of one slice, from what was measured of it, and the kind they are of.

    Parameters
    ----------
    kspace
        Measured k-space, complex64, (coil, y, x), zero where not sampled.
    sampled
        bool, (x,) or (y, x): the sampled columns, or entries. Only the fully sampled central square is looked at.
    settings
        How; None takes the defaults.
    stored
        Maps stored with the scan, complex64, (coil, y, x).

    Returns
    -------
    tuple of Tensor and str
        complex64, (coil, y, x), with Σ|S|² = 1 inside the support and 0 outside; and ``espirit``, ``walsh``, ``file``
        or ``ones``.

    Raises
    ------
    DataError
        If the scan cannot give maps of this kind: none are stored, the centre is missing, it has several coils and
        ``ones`` is asked for.
    """
    settings = settings if settings is not None else CoilMapSettings()
    coils, rows, columns = kspace.shape
    width = min(settings.calibration_width, central_width(sampled, rows))
    kind = _choose(settings.kind, coils, stored is not None, width)
    if kind == "file":
        if stored is None:
            raise DataError(
                "The scan holds no coil maps ('sensitivity_maps'); estimate them with calibration.maps.kind: auto."
            )
        return normalised(stored), "file"
    if kind == "ones":
        if coils != 1:
            raise DataError(f"The scan has {coils} coils, which need maps; set calibration.maps.kind: auto.")
        return torch.ones(1, rows, columns, dtype=torch.complex64), "ones"
    if width < 2:
        raise DataError(
            "The centre of k-space was not sampled, so coil maps cannot be estimated; measure central (ACS) lines or "
            "store the maps with the scan."
        )
    calibration = kspace[..., dc_window(rows, width), dc_window(columns, width)].to(torch.complex64)
    if not bool(calibration.any()):
        raise DataError("The centre of k-space is zero, so coil maps cannot be estimated; remove the slice.")
    maps = None if kind == "walsh" else _cached_espirit(calibration, (rows, columns), settings)
    if settings.kind == "espirit" and maps is not None:
        if not bool(maps.any()):
            raise DataError(
                f"No pixel passes ESPIRiT's threshold (calibration.maps.crop: {settings.crop}); lower it, or use walsh."
            )
        return maps, "espirit"
    # A small centre can leave ESPIRiT blind to half of the object; its maps are then worse than Walsh's.
    known = None if maps is None else map_quality(maps, kspace, sampled)
    if maps is not None and known is not None and known.explains:
        return maps, "espirit"
    simple = walsh_maps(calibration, (rows, columns), settings.walsh_patch, settings.walsh_support)
    if maps is None or known is None or map_quality(simple, kspace, sampled).residual < known.residual:
        return simple, "walsh"
    return maps, "espirit"


def _choose(kind: str, coils: int, stored: bool, width: int) -> str:
    if kind != "auto":
        return kind
    if coils == 1:
        return "ones"
    if stored:
        return "file"
    return "espirit" if width >= MIN_ESPIRIT_WIDTH else "walsh"


def _cached_espirit(calibration: Tensor, shape: tuple[int, int], settings: CoilMapSettings) -> Tensor:
    def compute() -> Tensor:
        return espirit_maps(
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
        The user's choice; None is the system's place for caches: on Linux ``$XDG_CACHE_HOME``, by default
        ``~/.cache``.

    Returns
    -------
    Path
        The folder, which need not exist yet.
    """
    if folder is not None:
        return Path(folder).expanduser()
    return user_cache_path("rsd_med", appauthor=False)


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

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as side:
            side.write_bytes(save({"maps": maps.contiguous()}))
    except OSError as error:
        _log.warning("Coil maps cannot be cached (%s); they are computed anew in every run.", error.strerror)
