"""What benchmarks share: where the data lie, how a figure is judged and recorded."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rsd_med.base.files import write_text
from rsd_med.runs.run_folder import describe_environment

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def shared_data(name: str) -> Path:
    """Return a folder of the shared data sets; exits 0 with a sentence where it is absent."""
    base = Path(os.environ.get("RSD_MED_SHARED_DATA", ROOT.parent / "shared" / "data"))
    folder = base / name
    if not folder.is_dir():
        print(f"skipped: no {name} here; set RSD_MED_SHARED_DATA to the folder that holds it")
        sys.exit(0)
    return folder


def succeed(command: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run one of the package's commands, and end the benchmark with its exit code where it fails: it has said why."""
    code = command(arguments)
    if code:
        sys.exit(code)


def find_chromium() -> str | None:
    """Return the path of a Chromium, under whichever name it is installed, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(frozen=True)
class Figure:
    """A number, the bound it is held to (None: for information), and which side of it is good."""

    name: str
    value: float
    bound: float | None = None
    at_most: bool = True

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        if self.bound is None:
            return True
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def line(self) -> str:
        """Return name, value, bound and verdict."""
        if self.bound is None:
            return f"{self.name}: {self.value:.4g}"
        sign = "<=" if self.at_most else ">="
        return f"{self.name}: {self.value:.4g} ({sign} {self.bound:g}) {'holds' if self.holds else 'falls short'}"


def conclude(name: str, figures: list[Figure], details: dict[str, Any]) -> int:
    """Print every figure, write ``benchmarks/results/<name>.json``, return 1 if one falls short."""
    for figure in figures:
        print(figure.line(), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join([f"python -m benchmarks.{name.split('-')[0]}", *_assuming(sys.argv[1:])]),
        "figures": [asdict(figure) | {"holds": figure.holds} for figure in figures],
        "environment": describe_environment(),
        **details,
    }
    write_text(RESULTS / f"{name}.json", json.dumps(content, indent=2) + "\n")
    return 0 if all(figure.holds for figure in figures) else 1


def _assuming(arguments: list[str]) -> list[str]:
    """Leave out folders of this machine: they change no number. A run that is asked about is called RUN."""
    words = list(arguments)
    for option in ("--run-dir", "--pictures"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    for place, word in enumerate(words[:-1]):
        if word in ("--run", "--reconstructor"):
            words[place + 1] = "RUN"
    return words
