"""Train on your own scans.

Raw scans in fastMRI's HDF5 layout go in; a one-step generator comes out. Here the scans are made up, with numpy
alone, so that you see what such a file has to hold: two datasets. Everything is as small as it can be: what comes out
is no picture yet, and training warns that so few images say nothing. To train on yours, point `root` at their folder
and take network and lengths of `protocols/quickstart.yaml`, which needs ten minutes on two cores.

The four steps: files, protocol, training, samples.
"""

import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

from rsd_med import sample, train

COILS, SIZE, SLICES = 4, 32, 8

PROTOCOL = """
schema_version: 1
name: own_scans
seed: 0
data: {kind: fastmri_hdf5, root: scans}      # relative to this file
corruption: {kind: multicoil_fourier, mask: file, acceleration: 4, acs_lines: 6, further_lines: 1}
backbone: {kind: monai_unet, channels: [8, 8, 8], attention: [false, false, false]}
diffusion: {hidden_std: 0.1}                 # the network sees part of an image
teacher: {objective: {kind: ambient_fourier}, images: 16, batch_size: 4, evaluate_samples: 4}
student: {images: 8, batch_size: 4, evaluate_samples: 4}
evaluation: {num_samples: 4, audited_samples: 0, samplers: [{kind: heun, steps: 5}]}
"""


def write_scan(path: Path, rng: np.random.Generator) -> None:
    """Write slices of ellipses, seen by four coils, with 8 of 32 columns of k-space: all that such a file needs."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    coils = np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 2 + 0.5j * (a * x + b * y)) for a, b in corners])
    slices = []
    for _ in range(SLICES):
        a, b, bright = rng.uniform([0.5, 0.4, 0.5], [0.9, 0.8, 1.0])
        image = 0.4 * bright * ((x / a) ** 2 + (y / b) ** 2 < 1) + bright * ((x - 0.2) ** 2 + y**2 < 0.05)
        slices.append(np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(coils * image, (-2, -1)), norm="ortho"), (-2, -1)))
    mask = np.zeros(SIZE, bool)
    mask[SIZE // 2 - 3 : SIZE // 2 + 3] = True
    mask[rng.choice(np.flatnonzero(~mask), 2, replace=False)] = True
    noise = rng.normal(scale=0.005, size=(2, SLICES, COILS, SIZE, SIZE))
    with h5py.File(path, "w") as file:
        file["kspace"] = ((np.stack(slices) + noise[0] + 1j * noise[1]) * mask).astype(np.complex64)
        file["mask"] = mask


def main(folder: Path) -> Path:
    """Do all four steps in ``folder``; return the file of samples."""
    scans = folder / "scans"
    scans.mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        write_scan(scans / f"scan{number}.h5", rng)

    protocol = folder / "own_scans.yaml"
    protocol.write_text(PROTOCOL)

    run = folder / "run"
    if code := train.main([str(protocol), "--run-dir", str(run), "--quiet"]):  # in a shell: python -m rsd_med.train …
        sys.exit(code)
    print(f"What came out: {run / 'report.html'}")

    if code := sample.main([str(run), "--num", "4", "--out", str(folder / "samples")]):
        sys.exit(code)
    samples = np.load(folder / "samples" / "samples.npy")  # (image, real and imaginary part, y, x), scaled units
    print(f"samples: {samples.shape}, largest magnitude {np.hypot(samples[:, 0], samples[:, 1]).max():.2f}")
    return folder / "samples" / "samples.npy"


if __name__ == "__main__":
    main(Path(tempfile.mkdtemp(prefix="own-scans-")))
