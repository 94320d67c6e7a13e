"""Planted copies of real brain slices: how many the audit of memorisation finds, and how many it makes up.

python -m benchmarks.memorisation [--sigma 0.2] [--size 32]

"Samples" of a generator that repeats all, a tenth or none of its noisy training slices; the rest are slices of subjects
that are not in training. Half of those subjects' slices serve as samples, the other half as the held-out baseline.
"""

import argparse
import sys

import torch
from torch import Tensor

from benchmarks.common import Figure, conclude, shared_data
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import NoiseSettings
from rsd_med.data.arrays import ArraysSettings
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.evaluation.audit import audit_memorisation


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memorisation", description=__doc__.splitlines()[0])
    parser.add_argument("--sigma", type=float, default=0.2)
    parser.add_argument("--size", type=int, default=32)
    options = parser.parse_args()
    folder = shared_data("brain_t1_axial_oasis")

    train, test = (
        ArraysSettings(root=str(folder / f"{split}_64.npz"), resize=options.size).build() for split in ("train", "test")
    )
    corruption = NoiseSettings(sigma=options.sigma).build()
    dataset = MeasurementDataset(train, corruption, seed=0)
    held_out = torch.stack([test[i].image for i in range(len(test))])
    held_out = held_out[torch.randperm(len(held_out), generator=generator_for(0, "halves"))]
    count = len(held_out) // 2
    unseen, baseline = held_out[:count], held_out[count:]
    chosen = torch.randperm(len(train), generator=generator_for(0, "copies"))[:count].tolist()
    copies = torch.stack([train[i].image for i in chosen])
    tenth = count // 10
    samples = {
        "none copied": unseen,
        "none copied, blurred": torch.nn.functional.avg_pool2d(unseen, 3, 1, 1),
        "a tenth copied": torch.cat((copies[:tenth], unseen[tenth:])),
        "all copied": copies,
    }

    figures, details = [], {}
    for name, images in samples.items():
        for clean in (baseline, None):
            found = audited(images, clean, dataset)
            title = f"{name}, {'held-out clean baseline' if clean is not None else 'no clean images'}"
            details[title] = found
            copied = name in ("a tenth copied", "all copied")
            # An alarm is p < 0.01. Without clean images the audit promises no more than not to invent copies.
            bound = None if copied and clean is None else 0.01
            figures.append(Figure(f"p: {title}", found["p_value"], bound, at_most=copied))
            figures.append(Figure(f"near-copies of {count}: {title}", found["near_copies"]))
    return conclude(
        f"memorisation-{options.sigma:g}", figures, {"training measurements": len(dataset), "audits": details}
    )


def audited(images: Tensor, clean: Tensor | None, dataset: MeasurementDataset) -> dict[str, float]:
    """Audit one set of samples; the pairs are left out."""
    result = audit_memorisation(images, clean, dataset, range(len(dataset)), dataset.corruption, seed=0)
    assert result is not None
    return {name: value for name, value in result.figures.items() if isinstance(value, int | float)}


if __name__ == "__main__":
    sys.exit(main())
