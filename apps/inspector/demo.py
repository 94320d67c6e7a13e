"""Make the demo model from a finished run: ``python -m apps.inspector.demo RUN``.

The demo is a run folder like any other, cut down to what the app needs: weights, some conditions with their
measurements, figures, curves and the first sample grids. Quickstart's data are simulated, so it holds nobody's anatomy;
a run on anybody's data is refused.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from rsd_med.base.command import run_command

FOLDER = Path(__file__).parent / "demo_model"
MOST_BYTES = 6_000_000
CONDITIONS = 40
GRIDS = 6
COMMAND = "python -m rsd_med.train protocols/quickstart.yaml"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.demo", description="Make the app's demo model from a finished quickstart run."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="finished run folder of protocols/quickstart.yaml")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default: the app's own)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Copy what is needed; whole or not at all."""
    options = parse(arguments)
    from rsd_med.base.errors import DataError

    side = Path(tempfile.mkdtemp(prefix=".demo-", dir=options.out.parent))
    try:
        make_demo(options.run, side)
        size = sum(path.stat().st_size for path in side.rglob("*") if path.is_file())
        if size > MOST_BYTES:
            raise DataError(f"{options.run.name}: the demo would take {size:,} bytes, more than {MOST_BYTES:,}.")
        side.chmod(0o755)
        shutil.rmtree(options.out, ignore_errors=True)
        side.rename(options.out)
    except BaseException:
        shutil.rmtree(side, ignore_errors=True)
        raise
    print(f"{options.out}: {size:,} bytes")
    return 0


def make_demo(run: Path, out: Path) -> None:
    """Fill ``out`` from a finished run.

    Raises
    ------
    DataError
        When the run is not finished, or its data are not simulated.
    """
    import numpy as np

    from rsd_med.base.errors import DataError
    from rsd_med.opened_run import newest_checkpoint, open_run
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.runs.sampling_operators import save_sampling_operators

    folder = RunFolder(run)
    experiment = open_run(folder)
    kind = experiment.protocol.data.kind
    if kind != "knee_phantom":
        raise DataError(f"{run.name}: its data are of kind {kind}; only simulated data may go into a demo.")
    made = RunFolder(out)
    for stage in ("teacher", "student"):
        checkpoint = newest_checkpoint(folder, stage)
        target = out / "checkpoints" / checkpoint.folder.name
        target.mkdir(parents=True)
        _copy_checkpoint(checkpoint.folder, target, stage)
    save_sampling_operators(made.sampling_operators, experiment.sampling_operators[:CONDITIONS])
    gallery = out / "samples" / "gallery"
    gallery.mkdir(parents=True)
    measurements = np.load(folder.samples / "gallery" / "measurements.npy", allow_pickle=False)[:CONDITIONS]
    np.save(gallery / "measurements.npy", measurements)
    for stage in ("teacher", "student"):
        grids = sorted(folder.samples.glob(f"{stage}_*.png"))
        step = max(1, -(-len(grids) // GRIDS))
        for path in sorted({*grids[::step], *grids[-1:]}):
            shutil.copyfile(path, out / "samples" / path.name)
    given = json.loads(folder.metrics.read_text(encoding="utf-8")).get("command", COMMAND)
    for path in (folder.protocol, folder.protocol_resolved, folder.metrics, folder.metrics_lines, folder.model_card):
        # Folders of the machine that it was trained on are nobody's business.
        (out / path.name).write_text(path.read_text(encoding="utf-8").replace(given, COMMAND), encoding="utf-8")
    made.set_status("done", command=COMMAND)
    known = json.loads(folder.environment.read_text(encoding="utf-8"))
    made.environment.write_text(json.dumps(known | {"protocol_folder": "."}, indent=2), encoding="utf-8")


def _copy_checkpoint(source: Path, target: Path, stage: str) -> None:
    """Copy one network of a checkpoint, with a manifest that names it alone."""
    name = f"{stage}.safetensors"
    shutil.copyfile(source / name, target / name)
    facts = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    facts.pop("seal", None)  # of the whole checkpoint
    facts["files"] = {name: facts["files"][name]}
    (target / "manifest.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
