"""How far the check on hidden lines can be trusted: whether what predicts them best has the best image.

python -m benchmarks.hidden_lines [--run RUN]... [--cases N] [--run-dir DIR]

Real and simulated scans whose full k-space is known are undersampled. Every method reconstructs them, and is judged by
the check, which knows nothing of the rest. The image's quality is its PSNR inside the head against the combination of
the full scan by the same coil maps, free of noise where the scan is simulated. Priors: the app's demo model of
whole heads, 128 x 128, which is applied to smaller scans here, and those of --run: of protocols/quickstart.yaml, say,
which fits the simulated knees. What --run-dir holds is not made again.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks._hidden_scans import Case, chosen
from benchmarks.common import ROOT, Figure, conclude
from rsd_med.base.draws import Draws
from rsd_med.base.progress import Progress, silent
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.coil_maps import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import Solver, SolverSettings
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.choice import Row, Table
from rsd_med.inverse.hidden_lines import Candidate, Errors, predict
from rsd_med.inverse.hiding import enough_draws, lines_of
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.inverse.scans import prepare
from rsd_med.operators.fourier import ifft2c
from rsd_med.reconstruction import PriorRun

DEMO = ROOT / "apps" / "inspector" / "demo_model"
DRAWS, SAMPLES, STEPS, TURNS = 3, 2, 10, 3
HEAD = 0.1
"""Pixels brighter than this part of the peak count for the PSNR."""
NEAR = 0.2
"""Decibels within which two images count as equally good."""
FOREIGN = (0.05, 0.1, 0.2, 0.4, 0.7)
"""Parts of another anatomy in what the dialled priors believe."""
LAMBDAS = (1e-3, 3e-3, 1e-2, 3e-2)


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hidden_lines", description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, action="append", default=[], help="another prior, applied at any size")
    parser.add_argument("--cases", type=int, help="only the first of them")
    parser.add_argument("--run-dir", type=Path, help="keep results here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = candidates([DEMO, *options.run])
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.run_dir or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        scans = [judged(case, methods, folder) for case in chosen(options.cases)]
    return conclude("hidden_lines", *summary([[Judged.of(row) for row in rows] for rows in scans]))


def candidates(runs: list[Path]) -> dict[str, Candidate]:
    """Return every method with its settings, by a label."""
    listed: dict[str, Candidate] = {}

    def add(label: str, name: str, prior: Any = None, **settings: Any) -> None:
        listed[label] = Candidate(name, SOLVERS[name](**settings).build(prior))

    add("zero_filled", "zero_filled")
    add("cg_sense 0.01", "cg_sense", regularisation=1e-2)
    add("cg_sense 0.1", "cg_sense", regularisation=1e-1)
    for weight in LAMBDAS:
        add(f"l1_wavelet {weight:g}", "l1_wavelet", regularisation=weight, wavelet="db2", iterations=50)
    for number, run in enumerate(runs):
        label = "demo" if number == 0 else run.parent.name
        trained = PriorRun(run, "cpu")
        teacher = replace(trained.network("teacher"), any_size=True)
        add(f"a_dps {label}", "a_dps", teacher, samples=SAMPLES, steps=STEPS)
        if number == 0:
            student = replace(trained.network("student"), any_size=True)
            add(f"student_pnp {label}", "student_pnp", student, samples=SAMPLES, iterations=TURNS)
            add(f"reconstructor {label}", "reconstructor", trained.network("reconstructor"), samples=SAMPLES)
    return listed


class Believing(Solver):
    """Stand for a prior that believes in one image: return it, changed as far as the data ask for."""

    def __init__(self, image: Tensor) -> None:
        super().__init__(BelievingSettings())
        self.image = image

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Fit what the image leaves of the data."""
        left = replace(measurement, data=measurement.data - measurement.operator(self.image[None]))
        return self.image + CGSenseSettings(regularisation=0.1).build().solve(left, generator, progress)


class BelievingSettings(SolverSettings):
    """Of a method with a prior."""

    needs = "teacher"

    kind: Literal["believing"] = "believing"


def dialled(truth: Tensor) -> dict[str, Candidate]:
    """Return priors from good to bad: they believe in the truth, of which a part is that of another anatomy.

    The other anatomy is the image itself, turned upside down. These are no methods. They come near to L1-wavelet from
    both sides, as the few trained priors that there are do not, and so say at what distance a flag is right.
    """
    return {
        f"believing {part:g}": Candidate("believing", Believing((1 - part) * truth + part * truth.flip(-2)))
        for part in FOREIGN
    }


# --- figures --------------------------------------------------------------------------------------------------------


def judged(case: Case, methods: dict[str, Candidate], folder: Path) -> list[dict[str, Any]]:
    """Return a row for each method: what the check says of it, and how good its image is."""
    stored = folder / f"{case.name}.json"
    rows: list[dict[str, Any]] = json.loads(stored.read_text()) if stored.exists() else []
    there = {row["label"] for row in rows}
    if there.issuperset(methods) and (case.clean is None or there.issuperset(dialled(torch.zeros(1, 1, 1)))):
        return rows
    settings = CalibrationSettings(virtual_coils=8, maps=CoilMapSettings(cache=False))
    prepared = prepare(case.scan, case.mask, settings)
    measurement, calibrated = prepared.measurement, prepared.scan
    full = calibrated.coils(case.scan.kspace if case.clean is None else case.clean) / calibrated.scale
    truth = (calibrated.maps.conj() * ifft2c(full)).sum(0, keepdim=True)
    reference = truth.abs()[0]
    inside = reference > HEAD * reference.max()
    competing = methods if case.clean is None else methods | dialled(truth)
    missing = {label: method for label, method in competing.items() if label not in there}
    draws = enough_draws(lines_of(measurement), DRAWS)
    predicted = predict(measurement, list(missing.values()), draws, 0, silent)
    for (label, method), errors in zip(missing.items(), predicted, strict=True):
        result = method.solver(measurement, generator_for(0, "reconstruct", case.name))
        difference = (result.mean.abs()[0] - reference)[inside]
        quality = 20 * float(torch.log10(reference.max() / difference.square().mean().sqrt()))
        rows.append(
            {
                "case": case.name,
                "group": case.group,
                "label": label,
                "learned": method.learned,
                "psnr": quality,
                "relative": errors.relative,
                "noise_ratio": errors.noise_ratio,
                "explains": result.residual.explains,
                "squared": errors.squared.tolist(),
                "energy": errors.energy.tolist(),
                "shown": errors.shown.tolist(),
                "unmeasured": errors.unmeasured.tolist(),
            }
        )
    stored.write_text(json.dumps(rows))
    print(case.name, "  ".join(f"{r['label']}: {r['relative']:.3f} {r['psnr']:.1f} dB" for r in rows), flush=True)
    return rows


@dataclass(frozen=True)
class Judged:
    """One method on one scan."""

    case: str
    group: str
    label: str
    learned: bool
    psnr: float
    errors: Errors
    explains: bool

    @property
    def dialled(self) -> bool:
        """Whether it is no method, but stands for a prior of known quality."""
        return self.label.startswith("believing")

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Judged":
        """Read what `judged` stored."""
        stored = ("squared", "energy", "shown", "unmeasured")
        squared, energy, shown, unmeasured = (torch.tensor(row[name], dtype=torch.float64) for name in stored)
        names = ("case", "group", "label", "learned", "psnr", "explains")
        errors = Errors(squared, energy, torch.zeros_like(energy), shown, unmeasured)
        return cls(errors=errors, **{name: row[name] for name in names})


def summary(scans: list[list[Judged]]) -> tuple[list[Figure], dict[str, Any]]:
    """Return the figures, and a row for each scan."""
    methods = [[row for row in rows if not row.dialled] for rows in scans]
    table = [_scan_row(rows) for rows in methods]
    learned = [pair for rows in scans for pair in _against_baseline(rows)]
    figures = [
        Figure("pairs of scan and method", sum(map(len, methods)), 200, at_most=False),
        Figure(f"chosen within {NEAR} dB of the best", _share(row["lost_db"] <= NEAR for row in table), 0.9, False),
        Figure("scans that no method's image explains", sum(not row["explained"] for row in table)),
        Figure(
            f"chosen within {NEAR} dB of the best, of the others",
            _share(row["lost_db"] <= NEAR for row in table if row["explained"]),
        ),
        Figure("dB lost by the choice, mean", statistics.mean(row["lost_db"] for row in table)),
        Figure("dB lost by the choice, most", max(row["lost_db"] for row in table)),
        Figure("dB lost by always taking L1-wavelet 0.003, mean", statistics.mean(row["default_db"] for row in table)),
        Figure("rank correlation of expected error and PSNR, mean", statistics.mean(row["rank"] for row in table)),
    ]
    for name, kind in (("trained", False), ("dialled", True)):
        pairs = [pair for pair in learned if pair["dialled"] == kind]
        worse = [pair for pair in pairs if pair["worse_by_db"] > 0]
        clear = [pair for pair in pairs if pair["worse_by_db"] > NEAR]
        better = [pair for pair in pairs if pair["worse_by_db"] <= 0]
        clearly_better = [pair for pair in pairs if pair["worse_by_db"] < -NEAR]
        figures += [
            Figure(f"{name} priors, worse than L1-wavelet", len(worse)),
            Figure(f"{name} priors, worse: flagged", _flagged(worse), 0.95, False),
            Figure(f"{name} priors, worse by more than {NEAR} dB: flagged", _flagged(clear)),
            Figure(f"{name} priors, worse: flagged by the residual", _share(not pair["explains"] for pair in worse)),
            Figure(f"{name} priors, at least as good", len(better)),
        ]
        if better:
            figures += [
                Figure(f"{name} priors, at least as good: flagged (false alarms)", _flagged(better), 0.05),
                Figure(f"{name} priors, better by more than {NEAR} dB: flagged", _flagged(clearly_better)),
            ]
    return figures, {"scans": table, "learned": learned, "draws": DRAWS, "samples": SAMPLES, "steps": STEPS}


def _scan_row(rows: list[Judged]) -> dict[str, Any]:
    """Say what the product's own choice costs on one scan, and how the two orders of all methods agree."""
    from scipy.stats import spearmanr

    by_label = {row.label: row for row in rows}
    candidates = [Candidate(row.label.split()[0], _Named(row)) for row in rows]  # type: ignore[arg-type]
    table = Table(tuple(Row(one, row.errors) for one, row in zip(candidates, rows, strict=True)), DRAWS, 1)
    picked = rows[table.rows.index(table.chosen())]
    best = max(rows, key=lambda row: row.psnr)
    order = spearmanr([-row.errors.expected for row in rows], [row.psnr for row in rows]).statistic
    return {
        "case": rows[0].case,
        "group": rows[0].group,
        "lines": len(rows[0].errors.squared),
        "chosen": picked.label,
        "best": best.label,
        "explained": any(row.explains for row in rows),
        "lost_db": best.psnr - picked.psnr,
        "default_db": best.psnr - by_label["l1_wavelet 0.003"].psnr,
        "rank": float(order),
        "methods": {row.label: {"psnr": row.psnr, "relative": row.errors.relative} for row in rows},
    }


def _against_baseline(rows: list[Judged]) -> list[dict[str, Any]]:
    """Hold every learned result against L1-wavelet with the λ that hidden lines choose."""
    candidates = [Candidate(row.label.split()[0], _Named(row)) for row in rows]  # type: ignore[arg-type]
    table = Table(tuple(Row(one, row.errors) for one, row in zip(candidates, rows, strict=True)), DRAWS, 1)
    baseline = rows[table.rows.index(table.baseline())]
    pairs = []
    for row, judged_row in zip(rows, table.rows, strict=True):
        if row.learned:
            above, error = row.errors.beyond(baseline.errors)
            flagged = table.warning(judged_row) is not None
            pair: dict[str, Any] = {"case": row.case, "group": row.group, "label": row.label, "dialled": row.dialled}
            pair["explains"] = row.explains
            pair |= {"worse_by_db": baseline.psnr - row.psnr, "above": above, "error": error, "flagged": flagged}
            pairs.append(pair)
    return pairs


def _flagged(pairs: list[dict[str, Any]]) -> float:
    return _share(pair["flagged"] for pair in pairs)


def _share(answers: Iterable[bool]) -> float:
    listed = list(answers)
    return sum(listed) / len(listed) if listed else float("nan")


class _Named:
    """Stands for a solver whose results are there already."""

    def __init__(self, row: Judged) -> None:
        self.settings = BelievingSettings() if row.dialled else SOLVERS[row.label.split()[0]].model_validate({})


if __name__ == "__main__":
    sys.exit(main())
