"""Reconstruct a scan.

A raw scan goes in; an image and a verdict on whether it explains the scan come out. Here the scan is fully sampled
and made up with numpy. The command leaves two of three columns out, so that it can say what a method loses: leave
`--acceleration` away for a scan that was undersampled when it was taken.

`l1_wavelet` needs no trained model. With a run folder in place of `-` the learned methods are there too; see
`docs/reconstruction.md`.
"""

import json
import sys
import tempfile
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np

from rsd_med import reconstruct


def write_scan(path: Path) -> np.ndarray:
    """Write one slice, (slice, coil, y, x), fully sampled, with a little noise; return the true magnitudes."""
    height, width = 64, 64
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image = 1.0 * (x**2 / 0.6 + y**2 / 0.8 < 1) - 0.5 * ((x - 0.2) ** 2 + (y + 0.2) ** 2 < 0.1)
    image += 0.3 * ((np.abs(x + 0.3) < 0.15) & (np.abs(y) < 0.3))
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    coils = np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 2 + 0.5j * (a * x + b * y)) for a, b in corners])
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(coils * image, (-2, -1)), norm="ortho"), (-2, -1))
    noise = np.random.default_rng(0).normal(scale=0.01, size=(2, *kspace.shape))
    with h5py.File(path, "w") as file:
        file["kspace"] = (kspace + noise[0] + 1j * noise[1])[None].astype(np.complex64)
    return image


def main(folder: Path) -> dict[str, float]:
    """Reconstruct by two methods, compare, and return the peak signal-to-noise ratio of each in decibels."""
    write_scan(folder / "scan.h5")
    quality = {}
    for method in ("zero_filled", "l1_wavelet"):
        out = folder / method
        arguments = ["-", str(folder / "scan.h5"), "--method", method, "--acceleration", "3", "--out", str(out)]
        if code := reconstruct.main(arguments):  # in a shell: python -m rsd_med.reconstruct - scan.h5 …
            sys.exit(code)
        metrics = json.loads((out / "metrics.json").read_text())
        quality[method] = metrics["volumes"][0]["quality"]["psnr"]
        volume = nib.load(out / "mean.nii.gz")  # float32, (y, x, slice), in the units of the scan
        print(f"{method}: {volume.shape}, {quality[method]:.1f} dB, picture in {out / 'png'}")
    return quality


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="reconstruct-")))
