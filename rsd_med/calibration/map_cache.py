"""Coil maps on disk: computed once for the same data and settings."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor

from rsd_med.base.files import written_aside
from rsd_med.calibration.espirit import EigenMaps

_log = logging.getLogger(__name__)

_VERSION = "3"
"""Part of every key: raise it when the maps change for the same settings."""


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


def cached(
    compute: Callable[[], EigenMaps], calibration: Tensor, how: tuple[object, ...], folder: str | None
) -> EigenMaps:
    """Return what ``compute`` makes of calibration data, from the cache where it was computed before.

    Parameters
    ----------
    compute
        Called where the cache does not hold it.
    calibration
        Centre of k-space, complex64, (coil, w, w).
    how
        What else the result depends on.
    folder
        Of the cache, as for :func:`cache_folder`.
    """
    digest = hashlib.blake2b(repr((_VERSION, tuple(calibration.shape), how)).encode(), digest_size=16)
    digest.update(calibration.contiguous().numpy(force=True).tobytes())
    path = cache_folder(folder) / "coil_maps" / f"{digest.hexdigest()}.safetensors"
    maps = _load(path, calibration.shape[0])
    if maps is None:
        maps = compute()
        _store(path, maps)
    return maps


def _load(path: Path, coils: int) -> EigenMaps | None:
    """Return cached maps, or None when there are none that can be used."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(path.read_bytes())
        vectors, values = tensors["vectors"], tensors["values"]
    except (OSError, SafetensorError, ValueError, KeyError):
        return None
    whole = vectors.dtype == torch.complex64 and vectors.ndim == 4 and vectors.shape[1] == coils
    if not whole or values.dtype != torch.float32 or values.shape != (len(vectors), *vectors.shape[2:]):
        return None
    if not bool(torch.isfinite(torch.view_as_real(vectors)).all() and torch.isfinite(values).all()):
        return None
    return EigenMaps(vectors, values)


def _store(path: Path, maps: EigenMaps) -> None:
    """Write maps under their final name only when they are whole; a cache that cannot be written is done without."""
    from safetensors.torch import save

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as side:
            side.write_bytes(save({"vectors": maps.vectors.contiguous(), "values": maps.values.contiguous()}))
    except OSError as error:
        _log.warning("Coil maps cannot be cached (%s); they are computed anew in every run.", error.strerror)
