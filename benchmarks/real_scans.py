"""Real raw scans, undersampled afterwards and reconstructed by every method with the command of the package.

python -m benchmarks.real_scans [--run RUN] [--run-dir DIR] [--samples N] [--only SCAN] [--pictures DIR]

A brain of eight coils (fastMRI's layout, R = 4 and 8) and a Siemens phantom of two (ISMRMRD, R = 2). The prior is by
default the demo model that comes with the app: whole heads of 128 x 128 pixels and eight simulated coils, learned from
R = 4 data alone. It is applied at the scans' own matrices and has seen neither phantoms nor these pixel sizes: what it
is worth there is for the figures, and for the residual, to say. Results in --run-dir are kept and not made again.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.common import ROOT, Figure, conclude, shared_data
from rsd_med.inverse.kinds import SOLVERS

DEMO = ROOT / "apps" / "inspector" / "demo_model"


@dataclass(frozen=True)
class Case:
    """A scan and how much of it is left."""

    name: str
    folder: str
    file: str
    acceleration: int
    acs_lines: int


CASES = (
    Case("brain_R4", "fastmri_format", "real_brain_8ch.h5", 4, 24),
    Case("brain_R8", "fastmri_format", "real_brain_8ch.h5", 8, 14),
    Case("phantom_R2", "mri_kspace_real", "phantom_2ch_siemens_gre_ismrmrd.h5", 2, 24),
)


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.real_scans", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, default=DEMO, help="the prior (default: the app's demo model)")
    parser.add_argument("--samples", type=int, default=4, help="posterior samples (default %(default)s)")
    parser.add_argument("--only", choices=[case.name for case in CASES], help="one of the scans; nothing is recorded")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each scan")
    parser.add_argument("--run-dir", type=Path, help="keep results here")
    options = parser.parse_args()
    cases = [case for case in CASES if options.only in (None, case.name)]
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.run_dir or Path(scratch)
        table = {case.name: _rows(case, folder / case.name, options) for case in cases}
        for case in cases:
            if options.pictures is not None:
                options.pictures.mkdir(parents=True, exist_ok=True)
                _picture(folder / case.name, options.pictures / f"real_{case.name}.png")
    if options.only is not None:
        return 0
    rows = [row for scan in table.values() for row in scan.values()]
    figures = [
        Figure("results of all scans and methods", len(rows), len(CASES) * len(SOLVERS), at_most=False),
        Figure("results that stand upright", sum(row["upright"] for row in rows), len(rows), at_most=False),
        Figure("results that explain the measurement", sum(row["explains"] for row in rows)),
    ]
    for name, scan in table.items():
        best = max(row["psnr"] for method, row in scan.items() if not SOLVERS[method].needs)
        figures.append(Figure(f"{name}: A-DPS - best method without a prior, PSNR in dB", scan["a_dps"]["psnr"] - best))
    prior = json.loads((options.run / "metrics.json").read_text())["command"]
    return conclude("real_scans", figures, {"table": table, "prior": prior, "samples": options.samples})


def _rows(case: Case, folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Reconstruct one scan by every method; return the figures of each."""
    from rsd_med.reconstruct import main as reconstruct

    scan = shared_data(case.folder) / case.file
    left = ["--acceleration", str(case.acceleration), "--acs-lines", str(case.acs_lines)]
    rows = {}
    for method in SOLVERS:
        out = folder / method
        if not (out / "metrics.json").exists():
            learned = SOLVERS[method].needs is not None
            how = [str(options.run), "--samples", str(options.samples), "--any-size"] if learned else ["-"]
            reconstruct([*how, str(scan), "--method", method, *left, "--out", str(out)])
        found = json.loads((out / "metrics.json").read_text())["volumes"][0]
        residual = found["residual"][0]
        row = {
            "psnr": found["quality"]["psnr"],
            "ssim": found["quality"]["ssim"],
            "noise_ratio": residual["noise_ratio"],
            "explains": residual["explains"],
            "upright": _upright(_panel(out, "slice"), _panel(out, "reference")),
            "seconds": found["seconds_per_slice"],
        } | {name: value for name, value in found.get("uncertainty", {}).items() if name != "inside"}
        print(
            f"{case.name:10s} {method:15s}", "  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True
        )
        rows[method] = row
    return rows


def _panel(out: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(out / "png" / f"{name}_000.png").convert("L"))


def _upright(image: np.ndarray, reference: np.ndarray) -> bool:
    """Whether no flip of the image is more like the reference than the image itself."""

    def likeness(candidate: np.ndarray) -> float:
        return float(np.corrcoef(candidate.ravel(), reference.ravel())[0, 1])

    return likeness(image) > max(likeness(flipped) for flipped in (image[::-1], image[:, ::-1], image[::-1, ::-1]))


def _picture(folder: Path, target: Path) -> None:
    """Put results and reference side by side, four in a row, and the uncertainties below."""
    panels = [(method, _panel(folder / method, "slice")) for method in SOLVERS]
    panels.append(("full scan", _panel(folder / "zero_filled", "reference")))
    panels += [
        (f"{method}: spread x 10", _panel(folder / method, "uncertainty"))
        for method in SOLVERS
        if SOLVERS[method].needs
    ]
    height, width = panels[0][1].shape
    label, columns = 14, 4
    sheet = Image.new("L", (columns * width, -(-len(panels) // columns) * (height + label)))
    draw = ImageDraw.Draw(sheet)
    for number, (name, image) in enumerate(panels):
        x, y = number % columns * width, number // columns * (height + label)
        draw.text((x + 3, y + 1), name.replace("_", " "), fill=255)
        sheet.paste(Image.fromarray(image), (x, y + label))
    sheet.save(target, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
