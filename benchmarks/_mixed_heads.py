"""Whole heads of several scanners and contrasts: what a reconstructor learns from that is to meet a stranger's scan."""

from pathlib import Path

import numpy as np

from benchmarks.common import shared_data

BRIGHT = 240
"""Grey value of the 99.5th percentile of images whose values have no unit."""


def write_mixture(file: Path) -> None:
    """Write heads of three sources, each as it is and with grey values changed, ``images`` of uint8 (N, 256, 256).

    T1 with contrast agent (Cheng), T2 (IXI), T2 of other scanners and levels (SIAT). A curve drawn for each image
    changes its grey values, every other one so that dark tissue may become bright: contrasts that no source has.
    """
    rng = np.random.default_rng(7)
    cheng, ixi = (
        np.load(shared_data(folder) / "train_256.npz")["images"]
        for folder in ("brain_t1ce_axial_cheng", "brain_axial_ixi")
    )
    images = [*cheng]
    for source in (ixi, _siat()):
        images += [*source]
    images += [_changed(image, rng) for image in images]
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, images=np.stack(images))


def _siat() -> np.ndarray:
    """Return the axial slices, whose values are complex, as grey values."""
    import h5py

    with h5py.File(shared_data("brain_t2_complex_siat") / "train_256_complex.h5") as file:
        axial = np.flatnonzero(file["plane"][:] == 0)
        parts = file["data"][:][axial].astype(np.float32)
    magnitude = np.hypot(parts[..., 0], parts[..., 1])
    white = np.percentile(magnitude, 99.5, axis=(1, 2), keepdims=True)
    return np.clip(magnitude / white * BRIGHT, 0, 255).astype(np.uint8)


def _changed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the image with its grey values on a smooth curve; what is dark as air stays so."""
    from scipy.interpolate import PchipInterpolator

    values = np.concatenate([[0, 0.06], np.sort(rng.uniform(0.12, 0.95, 3)), [1]])
    become = np.concatenate([[0, 0.03], rng.uniform(0.08, 1, 4)])
    become[1:] /= become.max()
    if rng.random() < 0.5:
        become = np.sort(become)
    return (np.clip(PchipInterpolator(values, become)(image / 255), 0, 1) * 255).astype(np.uint8)
