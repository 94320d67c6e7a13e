"""Does the app call scans foreign that a prior never learned, and its own kind not? A letter, noise, knees, heads.

Its own kind are held-out scans that it is not compared with: of a run whose held-out data are few, as those of the demo
model of heads, images of the same set that are not among them. Real heads are raw scans of other scanners, brought to
the run's matrix by keeping the centre of k-space: what a user would bring. How they are called is for the figures.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from apps.inspector.__main__ import DEMO
from apps.inspector.compute import reconstruction
from apps.inspector.compute.domain import LEVELS, Domain, Likeness
from apps.inspector.compute.model import Model
from apps.inspector.compute.simulated import simulate
from benchmarks.common import Figure, conclude, shared_data
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.scan import Picture, Scan
from rsd_med.inverse.scans import at_lower_resolution

OWN, FIRST = 64, 100
"""Held-out scans of the run's own kind, none of which it is compared with."""
HEADS = "brain_t1ce_axial_cheng"
"""Where the demo model of heads has its images from."""
EVERY = 3
"""Of other sets' images one in so many is taken."""


def letter(size: int) -> Scan:
    """Return a letter F."""
    image, part = torch.full((1, size, size), -1.0), size // 8
    image[:, part : 7 * part, 2 * part : 3 * part] = 1
    image[:, part : 2 * part, 2 * part : 6 * part] = image[:, 3 * part : 4 * part, 2 * part : 5 * part] = 1
    return simulate(Picture("letter", image))


def noise(size: int, seed: int) -> Scan:
    """Return k-space of Gaussian noise."""
    values = torch.randn(4, size, size, 2, generator=torch.Generator().manual_seed(seed))
    return Scan("noise", torch.view_as_complex(values), torch.ones(size, dtype=torch.bool))


def real_heads(size: tuple[int, int]) -> Iterator[Scan]:
    """Yield raw heads of two scanners, eight and sixteen coils, at a run's matrix."""
    for folder, file in (
        ("mri_kspace_real", "brain_8ch_full.h5"),
        ("mri_kspace_real_2", "brain_16ch_flash_siemens.h5"),
    ):
        with h5py.File(shared_data(folder) / file) as stored:
            kspace = torch.from_numpy(stored["kspace"][()]).to(torch.complex64)
        yield at_lower_resolution(Scan(file, kspace, torch.ones(kspace.shape[-1], dtype=torch.bool)), size)


def images(folder: str, model: Model, without: frozenset[bytes] = frozenset()) -> Iterator[Scan]:
    """Yield simulated scans of images of the shared data, resampled to a run's size."""
    size = model.experiment.sampling_operators.size
    with np.load(shared_data(folder) / "test_128.npz") as stored:
        for number, image in enumerate(stored["images"]):
            if image.tobytes() in without:
                continue
            values = torch.from_numpy(image.astype(np.float32) / image.max())[None, None]
            small: Tensor = torch.nn.functional.interpolate(values, tuple(size), mode="area")[0]
            yield simulate(Picture(f"{folder} {number}", small * 2 - 1), model.coils)


def own_kind(model: Model) -> Iterator[Scan]:
    """Yield scans of the run's own kind, none of which it is compared with."""
    stored = model.run.path / "held_out.npz"
    if not stored.exists():
        yield from (reconstruction.held_out(model, number).scan for number in range(FIRST, FIRST + OWN))
        return
    with np.load(stored) as arrays:
        known = frozenset(image.tobytes() for image in arrays["images"])
    yield from islice(images(HEADS, model, known), 0, None, 2)  # patients follow one another


def main(arguments: list[str] | None = None) -> int:
    """Rank every scan among the run's own kind."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.foreign", description=__doc__)
    parser.add_argument("run", type=Path, nargs="?", default=DEMO, help="run folder (default: the demo model)")
    options = parser.parse_args(arguments)
    model = Model(options.run)
    domain, size = Domain(model), model.experiment.sampling_operators.size[0]
    scans = {
        "own kind": own_kind(model),
        "letter F": iter([letter(size)]),
        "noise": (noise(size, seed) for seed in range(4)),
        "simulated knees": (KneePhantomSettings(num_images=6, size=size).build()[number] for number in range(6)),
        "knees (sagittal)": islice(images("knee_pdfs_sagittal_mridata", model), 0, None, EVERY),
        "heads (IXI, T2)": islice(images("brain_axial_ixi", model), 0, None, EVERY),
        "real raw heads": real_heads((size, size)),
    }
    figures, details = [], {}
    for name, group in scans.items():
        ranks: list[Likeness] = [domain.likeness(scan) for scan in group]
        share = sum(likeness.foreign for likeness in ranks) / len(ranks)
        own, akin = name == "own kind", "heads" in name
        bound = None if akin else 0.1 if own else 1.0
        figures.append(Figure(f"{name}: share of {len(ranks)} called foreign", share, bound, at_most=own))
        details[name] = [[round(error, 3) for error in likeness.errors] for likeness in ranks]
        details["compared with"] = [[round(most, 3) for most in usual] for usual in ranks[0].usual]
        errors = np.array(details[name])
        print(f"{name}: {share:.3g}; {errors.min(0)} to {errors.max(0)}, usual {details['compared with']}", flush=True)
    return conclude("foreign", figures, {"levels": LEVELS, "errors": details})


if __name__ == "__main__":
    sys.exit(main())
