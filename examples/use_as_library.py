"""Use a run from Python.

Three things without a command line: load a run, draw images, reconstruct an array of your own. The run is a folder that
training has filled; its training data are not needed.

Scales. A network works in *scaled units*: a scan divided by the 99th percentile of its low-resolution magnitude image
(the central `acs_lines` columns, root of the sum of squares over coils), so that images have magnitudes of about 1.
What is drawn is in these units. What is reconstructed goes back to the units of the array by `prepared.scan.scale`.
Fourier transforms are orthonormal, and the zero frequency is at index `n // 2`.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.data.scan import Scan
from rsd_med.evaluation.generation import draw_images, student_draw
from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.scans import Undersampling, prepare
from rsd_med.opened_run import newest_checkpoint, open_run
from rsd_med.prior import load_prior
from rsd_med.runs.run_folder import RunFolder


def draw(folder: Path, count: int = 4) -> np.ndarray:
    """Load a run's student and draw images, complex (count, y, x), scaled units."""
    run = RunFolder(folder)
    experiment = open_run(run)
    student = experiment.load_network(newest_checkpoint(run, "student"), "student")
    few_steps = experiment.protocol.student.few_steps
    # Coil maps and masks of the training scans, kept with the run: image k of a seed does not depend on how many.
    conditions = experiment.sampling_operators
    channels = draw_images(student_draw(student, few_steps), experiment.objective, conditions, count, seed=0)
    return (channels[:, 0] + 1j * channels[:, 1]).numpy()  # of real images there is one channel


def reconstruct(folder: Path, kspace: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Reconstruct k-space, complex (coil, y, x), of which the columns in mask, bool (x,), were measured.

    Returns the complex image (y, x) in the units of the array: the mean of four posterior samples.
    """
    prior = load_prior(folder, "teacher")
    protocol = open_run(RunFolder(folder)).protocol
    scan = Scan(
        id="mine",
        kspace=torch.from_numpy(np.where(mask, kspace, 0).astype(np.complex64)),
        acquired=torch.from_numpy(mask),
    )
    # Calibrated as the training scans were: noise, coil maps and scale are found in what was measured.
    prepared = prepare(scan, Undersampling(), protocol.calibration, size=prior.size, acs_lines=protocol.acs_lines)
    solver = ADPSSettings(samples=4, steps=20).build(prior)
    result = solver(prepared.measurement, generator_for(0, "mine"))
    return result.mean[0].numpy() * prepared.scan.scale


def scan_of_a_disc() -> tuple[np.ndarray, np.ndarray]:
    """Return k-space of a disc of 250 units, complex (4, 32, 32), and which columns were measured, bool (32,)."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    disc = 250.0 * (x**2 + y**2 / 0.8 < 0.6)
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    coils = np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / 2 + 0.5j * (a * x + b * y)) for a, b in corners])
    kspace = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(coils * disc, (-2, -1)), norm="ortho"), (-2, -1))
    mask = np.zeros(32, bool)
    mask[12:20] = mask[::4] = True
    return kspace, mask


def main(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Do both with a run of 32 x 32 pixels and four coils; return the images drawn and the one reconstructed."""
    images = draw(folder)
    print(f"drawn: {images.shape}, magnitudes up to {np.abs(images).max():.2f}")
    image = reconstruct(folder, *scan_of_a_disc())
    print(f"reconstructed: {image.shape}, magnitudes up to {np.abs(image).max():.0f}")
    return images, image


if __name__ == "__main__":
    main(Path(sys.argv[1]))
