"""The noise level from noisy images alone, against the level that they were given.

python -m benchmarks.blind_sigma [--images N]

2,000 images of MNIST (28 and 32 pixels), CIFAR-10 and brain slices (64 pixels) get noise of a known level: Gaussian on
the pixels, complex Gaussian on images with a phase, Rician magnitudes, and complex noise on the k-space of four coils,
fully sampled and at R = 4. One estimator serves each kind of noise, and is told nothing else.
"""

import argparse
import sys

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Figure, conclude, shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.blind_noise import BlindEstimate, estimate_rician_noise, estimate_white_noise
from rsd_med.calibration.noise import estimate_noise
from rsd_med.data.image_folder import ImageFolderSettings
from rsd_med.data.simulation import Scanner
from rsd_med.operators.noise import complex_or_real_noise

SIGMAS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
KSPACE_SIGMAS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""White is 1; the bound holds from here on, below it single corners of k-space hold more signal than noise."""

SCANS = 100


def mnist(size: int, count: int) -> Tensor:
    """Load digits, (n, 1, size, size) in [-1, 1]."""
    images = np.load(shared_data("mnist") / "mnist.npz")["x_train"][:count]
    pad = (size - 28) // 2
    return torch.from_numpy(np.pad(images, ((0, 0), (pad, pad), (pad, pad)))[:, None]).float() / 127.5 - 1


def cifar10(count: int) -> Tensor:
    """Load as many pictures of each class, (n, 3, 32, 32) in [-1, 1]."""
    source = ImageFolderSettings(root=str(shared_data("cifar10")), include="train_c*_0.webp", tile=(32, 32)).build()
    return torch.stack([source[index].image for index in range(0, len(source), len(source) // count)][:count])


def brain(count: int) -> Tensor:
    """Load slices, (n, 1, 64, 64) in [-1, 1], in random order."""
    images = np.load(shared_data("brain_t1_axial_oasis") / "train_64.npz")["images"]
    order = torch.randperm(len(images), generator=generator_for(0, "order"))[:count]
    return torch.from_numpy(images).float()[order, None] / 127.5 - 1


def with_phase(images: Tensor) -> Tensor:
    """Return complex images in [0, 1] with a smooth phase each, (n, 1, y, x)."""
    from rsd_med.data.coils import smooth_phase

    height, width = images.shape[-2:]
    phases = [smooth_phase((height, width), generator_for(0, "phase", n)) for n in range(len(images))]
    return torch.polar((images + 1) / 2, torch.stack(phases)[:, None])


def kspace_sigma(images: Tensor, sigma: float, acceleration: float | None) -> float:
    """Return the estimate from simulated four-coil scans: the root of the mean variance over scans."""
    scanner = Scanner(coils=4, sigma=sigma, acceleration=acceleration, acs_lines=8)
    variances = []
    for number, image in enumerate(images[:SCANS]):
        kspace, _ = scanner.scan((image[0] + 1) / 2, number)
        sampled = scanner.mask(kspace.shape[-1], number)
        estimate = estimate_noise(torch.where(sampled, kspace, 0), sampled)
        if estimate is not None:
            variances.append(estimate.sigma**2)
    return float(np.mean(variances)) ** 0.5


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.blind_sigma", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    count = parser.parse_args().images
    slices = brain(count)
    complex_slices = with_phase(slices)
    clean = {
        "mnist 28": mnist(28, count),
        "mnist 32": mnist(32, count),
        "cifar10 32": cifar10(count),
        "brain 64": slices,
        "brain 64 complex": complex_slices,
    }
    figures, table = [], []

    def note(name: str, sigma: float, found: float, bound: float, details: dict[str, float]) -> None:
        error = abs(found / sigma - 1) * 100
        figures.append(Figure(f"{name}, sigma {sigma:g}: error in %", error, bound))
        table.append({"data": name, "sigma": sigma, "estimate": found, **details})
        print(figures[-1].line(), flush=True)

    def noted(estimate: BlindEstimate) -> dict[str, float]:
        return {"standard_error": estimate.error, "images": estimate.images, "excess": estimate.excess}

    for name, images in clean.items():
        for sigma in SIGMAS:
            noisy = images + complex_or_real_noise(images, sigma, generator_for(0, "noise", name, str(sigma)))
            estimate = estimate_white_noise(noisy)
            note(name, sigma, estimate.sigma, 5.0, noted(estimate))
    for sigma in SIGMAS:
        drawn = generator_for(0, "noise", "rician", str(sigma))
        noisy = complex_slices + complex_or_real_noise(complex_slices, sigma, drawn)
        estimate = estimate_rician_noise(noisy.abs())
        note("brain 64 rician magnitude", sigma, estimate.sigma, 5.0, noted(estimate))
    for acceleration in (None, 4.0):
        name = "brain 64 k-space, 4 coils, R = " + ("1" if acceleration is None else "4")
        for sigma in KSPACE_SIGMAS:
            note(name, sigma, kspace_sigma(slices, sigma, acceleration), 10.0, {"scans": SCANS})
    return conclude("blind_sigma", figures, {"table": table, "seed": 0, "num_images": count})


if __name__ == "__main__":
    sys.exit(main())
