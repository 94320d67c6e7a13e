"""What the published protocols cost by counting: operations, memory and days of a GPU, and how fast some would be.

python -m benchmarks.costs [--write]

Nothing is computed (`rsd_med.costs`) and nothing is timed: what is told of speed follows from assumptions that no GPU
has confirmed. ``--write`` puts the tables into docs/scaling.md.
"""

import argparse
import re
import sys
from dataclasses import asdict, dataclass

from benchmarks.common import ROOT, Figure, conclude
from rsd_med.costs import (
    GIB,
    REACHED,
    ImageShape,
    count_network,
    count_stages,
    gpu_days,
    largest_micro_batch,
    precision_of,
    room,
)
from rsd_med.diffusion.compute import Precision
from rsd_med.protocol import Protocol, load_protocol

CARDS = (80, 141)
"""Memory of the cards that the tables ask about, in GiB: A100 or H100, and H200."""

GPUS = (1, 8, 64)

WITHIN, BETWEEN = 300e9, 40e9
"""Bytes/s of an all-reduce, within a node of eight GPUs and between nodes (for each GPU)."""

DOCUMENT = ROOT / "docs" / "scaling.md"
MARKS = "<!-- counted by benchmarks.costs -->\n", "<!-- end of what is counted -->"


@dataclass(frozen=True)
class Case:
    """A protocol and the images that its networks see."""

    protocol: str
    shape: ImageShape

    def load(self) -> Protocol:
        """Read the protocol."""
        return load_protocol(ROOT / "protocols" / f"{self.protocol}.yaml")


CASES = (
    Case("quickstart", ImageShape(2, 1, 32, 32, 4)),
    Case("cifar10_noise0.2", ImageShape(3, 0, 32, 32)),
    Case("ffhq64_noise0.2", ImageShape(3, 0, 64, 64)),
    Case("knee_R4", ImageShape(2, 1, 320, 368, 15)),
)
NETWORKS = ["network of", "image", "F", "weights", "held for backward, float32 and bfloat16"]
MEMORY = ["as shipped, one GPU", "images at once", "memory", *(f"most at once on {card} GiB" for card in CARDS)]
DAYS = ["GPU-days, teacher + student", "as shipped", "tf32", "bfloat16"]
SPEED = ["images/s (waiting)", *(f"{gpus} H200" for gpus in GPUS)]


def network_row(case: Case) -> list[str]:
    """Return size, operations and held bytes of a case's network."""
    exact, half = (count_network(case.load(), case.shape, precision) for precision in ("float32", "bfloat16"))
    shape = " × ".join(map(str, (case.shape.channels, case.shape.height, case.shape.width)))
    held = f"{short(exact.learning / 2**20)} and {short(half.learning / 2**20)} MiB an image"
    return [f"`{case.protocol}`", shape, f"{short(exact.flops / 1e9)} GFLOP", f"{short(exact.weights / 1e6)} M", held]


def memory_rows(case: Case) -> list[list[str]]:
    """Return, for each stage, its memory on one GPU, and how many images at once would fit on some cards."""
    protocol = case.load()
    rows = []
    for name, stage in count_stages(protocol, case.shape, precision_of(protocol)).items():
        batch = (protocol.teacher if name == "teacher" else protocol.student).batch_size
        most = [largest_micro_batch(stage, batch, card) for card in CARDS]
        size = f"{short(stage.memory / GIB)} GiB"
        rows.append([f"`{case.protocol}`, {name}", str(stage.at_once), size, *(str(n or "none") for n in most)])
    return rows


def days_row(case: Case) -> list[str]:
    """Return the days of one H200 for both stages, as shipped and in faster precisions."""
    protocol = case.load()
    flops = [stage.flops for stage in count_stages(protocol, case.shape, "bfloat16").values()]
    shipped = precision_of(protocol)
    columns: list[Precision] = [shipped, "tf32", "bfloat16"]
    cells = [" + ".join(short(gpu_days(flop, precision)) for flop in flops) for precision in columns]
    return [f"`{case.protocol}`", f"{cells[0]} ({shipped})", *cells[1:]]


def speed_rows(case: Case) -> list[list[str]]:
    """Return images per second of some numbers of GPUs in bfloat16, and the share of a step that waits."""
    protocol = case.load()
    network = count_network(case.load(), case.shape, "bfloat16")
    rows = []
    for name, passes in (("teacher", 3), ("student", 11)):
        batch = max(64, (protocol.teacher if name == "teacher" else protocol.student).batch_size)
        cells = []
        for gpus in GPUS:
            compute = batch / gpus * passes * network.flops / REACHED["bfloat16"]
            sent = (2 if name == "student" else 1) * 4 * network.weights * 2 * (gpus - 1) / gpus
            message = sent / (WITHIN if gpus <= 8 else BETWEEN)
            cells.append(f"{short(batch / (compute + message))} ({message / (compute + message):.0%})")
        rows.append([f"`{case.protocol}`, {name}", *cells])
    return rows


def fits(case: Case, card: float) -> bool:
    """Say whether a protocol runs on one card as shipped."""
    protocol = case.load()
    stages = count_stages(protocol, case.shape, precision_of(protocol))
    return all(stage.memory <= room(card) for stage in stages.values())


def short(value: float) -> str:
    """Write a number with three digits that count."""
    return f"{float(f'{value:.3g}'):,g}"


def table(heading: list[str], rows: list[list[str]]) -> str:
    """Return a table as Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [heading, ["---"] * len(heading), *rows])


def tables() -> str:
    """Return the tables of docs/scaling.md."""
    large = CASES[1:]
    return "\n\n".join(
        [
            table(NETWORKS, [network_row(case) for case in CASES]),
            table(MEMORY, [row for case in large for row in memory_rows(case)]),
            table(DAYS, [days_row(case) for case in large]),
            table(SPEED, [row for case in large for row in speed_rows(case)]),
        ]
    )


def write_between(marks: tuple[str, str], text: str) -> None:
    """Put a text between two marks of docs/scaling.md."""
    before, after = (re.escape(mark) for mark in marks)
    document = DOCUMENT.read_text(encoding="utf-8")
    written = re.sub(f"(?<={before}).*(?={after})", lambda _: f"\n{text}\n\n", document, flags=re.DOTALL)
    DOCUMENT.write_text(written, encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Count, print the tables of docs/scaling.md, record, and write them there if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scaling.md")
    options = parser.parse_args(arguments)
    text = tables()
    print(text, end="\n\n")
    if options.write:
        write_between(MARKS, text)
    figures = [Figure("knee_R4 fits on one GPU of 80 GiB as shipped", float(fits(CASES[3], 80)), 1, at_most=False)]
    return conclude("costs", figures, {"cases": [asdict(case) for case in CASES]})


if __name__ == "__main__":
    sys.exit(main())
