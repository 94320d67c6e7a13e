"""What training costs by arithmetic: operations, weights and messages of each network, and how fast a GPU would be.

python -m benchmarks.costs

Networks are built without memory (torch's meta device) from the protocols, and torch's FlopCounterMode counts one
forward pass. Nothing is timed: images per second follow from the assumptions below, which no GPU has confirmed.
"""

import sys
from dataclasses import asdict, dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import ROOT, Figure, conclude
from rsd_med.protocol import load_protocol

TEACHER, STUDENT = 3, 11
"""Forward passes that an image costs: forward and two backward; SiD's generator, fake score and comparison."""

PEAK, USED = 790e12, 0.25
"""bf16 products of an H200 in FLOP/s, and the share of them that a network is assumed to reach."""

GPUS = (1, 8, 64)

WITHIN, BETWEEN = 300e9, 40e9
"""Bytes/s of an all-reduce, within a node of eight GPUs and between nodes (for each GPU)."""


@dataclass(frozen=True)
class Case:
    """A protocol's network, and the images that it gets; ``batch`` is that of all GPUs together, 0: not for GPUs."""

    protocol: str
    channels: int
    context: int
    size: tuple[int, int]
    batch: int


CASES = (
    Case("quickstart", 2, 1, (32, 32), 0),
    Case("cifar10_noise0.2", 3, 0, (32, 32), 512),
    Case("ffhq64_noise0.2", 3, 0, (64, 64), 256),
    Case("knee_R4", 2, 1, (320, 368), 64),
)


def count(case: Case) -> tuple[float, int]:
    """Return the FLOPs of one forward pass for one image, and the number of weights."""
    backbone = load_protocol(ROOT / "protocols" / f"{case.protocol}.yaml").backbone
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network = backbone.build(case.channels + case.context, case.channels).eval()
        network(torch.empty(1, case.channels + case.context, *case.size), torch.empty(1))
    return float(counter.get_total_flops()), sum(weight.numel() for weight in network.parameters())


def rate(passes: int, flops: float, weights: int, gpus: int, batch: int) -> tuple[float, float]:
    """Return images per second of all GPUs, and the share of a step that waits for gradients."""
    compute = batch / gpus * passes * flops / (USED * PEAK)
    networks = 2 if passes == STUDENT else 1
    sent = networks * 4 * weights * 2 * (gpus - 1) / gpus
    message = sent / (WITHIN if gpus <= 8 else BETWEEN)
    return batch / (compute + message), message / (compute + message)


def short(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{float(f'{value:.3g}'):,g}"


def table(heading: list[str], rows: list[list[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ["---"] * len(heading), *rows])


def main() -> int:
    """Count, print both tables of docs/scaling.md, and record."""
    figures, counts, rates = [], [], []
    for case in CASES:
        flops, weights = count(case)
        figures += [Figure(f"{case.protocol}: FLOP of a pass", flops), Figure(f"{case.protocol}: weights", weights)]
        shape = " × ".join(map(str, (case.channels, *case.size)))
        sizes = [f"{short(flops / 1e9)} GFLOP", f"{short(weights / 1e6)} M", f"{short(4 * weights / 1e6)} MB"]
        counts.append([f"`{case.protocol}`", shape, *sizes])
        for name, passes in (("teacher", TEACHER), ("student", STUDENT)) if case.batch else ():
            predicted = [rate(passes, flops, weights, gpus, case.batch) for gpus in GPUS]
            rates.append([f"`{case.protocol}`, {name}", *(f"{short(speed)} ({wait:.0%})" for speed, wait in predicted)])
    print(table(["network of", "image", "F", "weights", "message"], counts), end="\n\n")
    print(table(["images/s (waiting)", *(f"{gpus} H200" for gpus in GPUS)], rates), end="\n\n")
    return conclude("costs", figures, {"cases": [asdict(case) for case in CASES]})


if __name__ == "__main__":
    sys.exit(main())
