"""The scans of `benchmarks.hidden_lines`: of known full k-space, simulated and real."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from benchmarks.common import shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.scan import Scan
from rsd_med.data.simulation import Scanner
from rsd_med.inverse.scans import Undersampling, at_lower_resolution


@dataclass(frozen=True)
class Case:
    """A full scan, and how it is undersampled.

    Attributes
    ----------
    name
        Unique.
    group
        What kind of scan it is.
    scan
        Fully sampled.
    clean
        Its k-space without noise, where that is known.
    mask
        What is left of it.
    """

    name: str
    group: str
    scan: Scan
    clean: Tensor | None
    mask: Undersampling


def chosen(count: int | None) -> Iterator[Case]:
    """Yield the cases, kinds of scan by turns, so that the first few are of all kinds."""
    groups = [list(group) for group in (knees(), heads(), real(), shapes(), complex_heads(), other_knees())]
    turns = [case for turn in range(max(map(len, groups))) for group in groups for case in group[turn : turn + 1]]
    yield from turns[:count]


def knees() -> Iterator[Case]:
    """Yield simulated knees as quickstart learns from: other knees, 32 x 32, at R = 2 and 3 instead of 4."""
    noisy, clean = (
        KneePhantomSettings(num_images=8, coils=4, sigma=sigma, split="test", weighting="t1").build(seed=0)
        for sigma in (0.005, 0.0)
    )
    for number in range(8):
        scan, exact = noisy[number], clean[number]
        assert isinstance(scan, Scan)
        assert isinstance(exact, Scan)
        mask = Undersampling((2, 3)[number % 2], 4, "random", number)
        yield Case(f"knee_{number}", "simulated knees", scan, exact.kspace, mask)


def heads() -> Iterator[Case]:
    """Yield whole heads, simulated."""
    for number in range(8):
        folder, stride = (("brain_t1ce_axial_cheng", 18), ("brain_axial_ixi", 3))[number % 2]
        images = np.load(shared_data(folder) / "test_128.npz")["images"]
        yield simulated(f"head_{number}", "heads", torch.from_numpy(images[number * stride] / 255.0), number)


def other_knees() -> Iterator[Case]:
    """Yield sagittal knees of patients, simulated."""
    images = np.load(shared_data("knee_pdfs_sagittal_mridata") / "test_128.npz")["images"]
    for number in range(6):
        image = torch.from_numpy(images[5 * number] / 255.0)
        yield simulated(f"sagittal_{number}", "knees of patients", image, number)


def complex_heads() -> Iterator[Case]:
    """Yield heads with their own phase and true noise, seen by simulated coils."""
    with h5py.File(shared_data("brain_t2_complex_siat") / "test_256_complex.h5") as file:
        for number in range(6):
            item = 6 * number + 1
            parts = torch.from_numpy(file["data"][item].astype(np.float32)) * float(file["scale"][item])
            image = torch.view_as_complex(parts)
            yield simulated(f"complex_{number}", "complex heads", image / image.abs().quantile(0.99), number)


def shapes() -> Iterator[Case]:
    """Yield a letter F and ellipses: nothing that any prior here has learned."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 128), torch.linspace(-1, 1, 128), indexing="ij")
    bars = ((x > -0.45) & (x < -0.2)) | ((x > -0.45) & (x < 0.5) & (y < -0.45))
    letter = ((bars | ((x > -0.45) & (x < 0.3) & (y > -0.1) & (y < 0.12))) & (y.abs() < 0.7)).float()
    ellipses = ((x / 0.7) ** 2 + (y / 0.85) ** 2 < 1).float() - 0.7 * ((x / 0.62) ** 2 + (y / 0.78) ** 2 < 1).float()
    for place, size, value in (((0.25, 0.0), 0.18, 0.4), ((-0.25, 0.1), 0.22, -0.2), ((0.0, -0.4), 0.15, 0.6)):
        ellipses = ellipses + value * ((x - place[0]) ** 2 + (y - place[1]) ** 2 < size**2)
    for number in range(6):
        name, image = (("letter_F", letter), ("ellipses", ellipses))[number % 2]
        yield simulated(f"{name}_{number}", "shapes", image, number)


def simulated(name: str, group: str, image: Tensor, number: int) -> Case:
    """Scan an image by four or eight coils, and crop its k-space to 48 or 64 pixels."""
    size, rate = ((64, 2), (48, 2), (64, 3), (64, 4))[number % 4]
    sigma = (0.01, 0.03)[number // 2 % 2]
    scanner = Scanner(coils=(4, 8)[number % 2], acceleration=None, seed=number)
    image = image.to(torch.complex64) if image.is_complex() else image.float()
    kspace, _ = scanner.scan(image, name)
    columns = torch.ones(kspace.shape[-1], dtype=torch.bool)
    clean = at_lower_resolution(Scan(name, kspace, columns), (size, size))
    # The same values in fewer pixels: the orthonormal transform makes them larger.
    exact = clean.kspace * (size / kspace.shape[-1])
    noise = torch.view_as_complex(generator_for(number, "noise", name).normal(*exact.shape, 2)) * sigma
    mask = Undersampling(rate, 8 if rate < 4 else 6, "random", number)
    return Case(name, group, replace(clean, kspace=exact + noise), exact, mask)


def real() -> Iterator[Case]:
    """Yield raw scans: two heads, a phantom, a bottle."""
    files = {
        "brain_8ch": read(shared_data("fastmri_format") / "real_brain_8ch.h5", "kspace", 0),
        "brain_16ch": read(shared_data("mri_kspace_real_2") / "brain_16ch_flash_siemens.h5", "kspace"),
        "phantom_2ch": read(shared_data("fastmri_format") / "real_phantom_2ch.h5", "kspace", 0),
        "bottle_16ch": read(shared_data("mri_kspace_real_2") / "brain_16ch_flash_siemens.h5", "phantom_kspace"),
    }
    for size, rate, lines in ((64, 2, 12), (64, 3, 10), (64, 4, 8)):
        for number, (name, kspace) in enumerate(files.items()):
            cut = at_lower_resolution(Scan(name, kspace, torch.ones(kspace.shape[-1], dtype=torch.bool)), (size, size))
            mask = Undersampling(rate, lines, ("random", "equispaced")[number % 2], number)
            yield Case(f"{name}_R{rate}", "real scans", cut, None, mask)


def read(path: Path, name: str, index: int | None = None) -> Tensor:
    """Return k-space (coil, y, x) of a file."""
    with h5py.File(path) as file:
        values = file[name]
        return torch.from_numpy(values[()] if index is None else values[index])
