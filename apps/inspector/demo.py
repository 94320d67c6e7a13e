"""Make the demo model from a finished run: ``python -m apps.inspector.demo RUN``.

The demo is a run folder like any other, cut down to what the app needs: weights, some conditions with their
measurements, figures, curves and the first sample grids, and held-out images, of which the app's first page shows one.
Quickstart's data are simulated and hold nobody's anatomy; of others the licence and the source have to be named.
"""

import argparse
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import run_command

if TYPE_CHECKING:
    from rsd_med.experiment import Experiment
    from rsd_med.protocol import Protocol
    from rsd_med.runs.run_folder import RunFolder

FOLDER = Path(__file__).parent / "demo_model"
MOST_BYTES = 25_000_000
CONDITIONS, CONDITION_BYTES = 40, 4 << 20
"""Training measurements whose coil maps and lines samples are drawn under: how many, and how much they may take."""
GRIDS, GRID_BYTES = 6, 2 << 20
"""Grids of samples of a stage at most, the last always among them, and how much those of all stages may take."""
HELD_OUT = 40
"""Held-out images: those that the page offers, and those that a scan is ranked among."""
COMMAND = "python -m rsd_med.train protocol.yaml"
SIMULATED = "knee_phantom"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.demo", description="Make the app's demo model from a finished run."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="finished run folder")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default: the app's own)")
    held_out = parser.add_argument_group("for a run on data that are not simulated")
    held_out.add_argument(
        "--held-out",
        type=Path,
        metavar="IMAGES.npz",
        help="images of the run's kind and size that its training never saw, uint8 (N, y, x); some go with the model, "
        "to be scanned by a simulated scanner",
    )
    held_out.add_argument("--first", type=int, default=0, metavar="N", help="which of them the first page shows")
    held_out.add_argument("--licence", help="of the data, which binds weights and images: CC-BY-4.0, say")
    held_out.add_argument("--dataset", help="what the data are called, who made them, and where they are")
    held_out.add_argument("--description", help="what the data show, in place of the protocol's own words")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Copy what is needed; whole or not at all."""
    options = parse(arguments)
    from rsd_med.base.errors import DataError

    side = Path(tempfile.mkdtemp(prefix=".demo-", dir=options.out.parent))
    try:
        make_demo(options, side)
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


def make_demo(options: argparse.Namespace, out: Path) -> None:
    """Fill ``out`` from a finished run.

    Raises
    ------
    DataError
        When the run is not finished, or its data are somebody's and nothing is said of them.
    """
    from rsd_med.base.errors import DataError
    from rsd_med.opened_run import open_run
    from rsd_med.runs.run_folder import RunFolder

    folder, made = RunFolder(options.run), RunFolder(out)
    experiment = open_run(folder)
    kind = experiment.protocol.data.kind
    if kind != SIMULATED and not (options.held_out and options.licence and options.dataset):
        raise DataError(
            f"{options.run.name}: its data are of kind {kind}, somebody's: --held-out, --licence and --dataset have to "
            "name images that were not trained on, what the data may be used for, and whose they are."
        )
    _copy_networks(folder, out)
    _copy_conditions(experiment, folder, made)
    _write_protocol(_changed(experiment.protocol, options), folder, made)
    if options.held_out is not None:
        _write_held_out(options, experiment.sampling_operators.size, out)
    _write_account(options, experiment.protocol.name, folder, made)
    _open_every_network(out)
    if options.held_out is not None:
        _store_what_is_known(out)


def _open_every_network(out: Path) -> None:
    """Open what was written; weights of a network that has been changed since would fail on the first page."""
    from .compute.model import Model

    model = Model(out)  # teacher and student
    if "reconstructor" in model.networks:
        model.trained("reconstructor")


def _store_what_is_known(out: Path) -> None:
    """Measure the held-out scans once and for all: everybody's first scan would wait for that."""
    from .compute.domain import Domain
    from .compute.model import Model
    from .compute.reconstruction import held_out

    model = Model(out)
    domain = Domain(model)
    domain.likeness(held_out(model, 0).scan)
    domain.store(out)


def _copy_networks(folder: "RunFolder", out: Path) -> None:
    from rsd_med.opened_run import newest_checkpoint

    for stage in ("teacher", "student", "reconstructor"):
        if stage == "reconstructor" and folder.checkpoints.newest(stage)[0] is None:
            continue  # not every run has one
        checkpoint = newest_checkpoint(folder, stage)
        target = out / "checkpoints" / checkpoint.folder.name
        target.mkdir(parents=True)
        _copy_checkpoint(checkpoint.folder, target, stage)


def _copy_checkpoint(source: Path, target: Path, stage: str) -> None:
    """Copy one network of a checkpoint in half precision, which is half the size, with a manifest that names it alone.

    Networks are loaded into float32 all the same.
    """
    import torch
    from safetensors.torch import load_file, save_file

    from rsd_med.runs.shared_folder import fingerprint

    path = target / f"{stage}.safetensors"
    weights = load_file(source / path.name)
    save_file({name: w.to(torch.float16) if w.is_floating_point() else w for name, w in weights.items()}, path)
    path.chmod(0o644)  # safetensors writes for the owner alone
    facts = json.loads((source / "manifest.json").read_text(encoding="utf-8"))
    facts.pop("seal", None)  # of the whole checkpoint
    facts["files"] = {path.name: {"bytes": path.stat().st_size, "sha256": fingerprint(path)}}
    (target / "manifest.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def _copy_conditions(experiment: "Experiment", folder: "RunFolder", made: "RunFolder") -> None:
    """Copy some coil maps and masks, their measurements, and a few grids of samples."""
    import numpy as np

    from rsd_med.runs.sampling_operators import save_sampling_operators

    conditions = experiment.sampling_operators
    size = sum(tensor.nbytes for tensor in conditions.operator.state().values()) // len(conditions)
    count = max(1, min(CONDITIONS, CONDITION_BYTES // max(1, size)))
    save_sampling_operators(made.sampling_operators, conditions[:count])
    gallery = made.samples / "gallery"
    gallery.mkdir(parents=True)
    np.save(
        gallery / "measurements.npy",
        np.load(folder.samples / "gallery" / "measurements.npy", mmap_mode="r", allow_pickle=False)[:count],
    )
    for stage in ("teacher", "student"):
        for path in _chosen_grids(sorted(folder.samples.glob(f"{stage}_*.png"))):
            shutil.copyfile(path, made.samples / path.name)


def _chosen_grids(grids: list[Path]) -> list[Path]:
    """Choose some moments of a stage, evenly spaced, the last among them; large grids are few."""
    if not grids:
        return []
    most = max(path.stat().st_size for path in grids)
    count = max(1, min(GRIDS, len(grids), GRID_BYTES // 2 // most))
    return [grids[-1 - number * len(grids) // count] for number in reversed(range(count))]


def _changed(protocol: "Protocol", options: argparse.Namespace) -> "Protocol":
    """Return the protocol without paths of the machine, with the images that go with the model."""
    from rsd_med.data.arrays import ArraysSettings
    from rsd_med.sharing.hub import without_paths

    changes: dict[str, object] = {}
    if options.description is not None:
        changes["description"] = options.description
    if options.held_out is not None:
        changes["evaluation"] = protocol.evaluation.model_copy(
            update={"reference": ArraysSettings(root="held_out.npz")}
        )
    named = without_paths(protocol.model_copy(update={**changes, "evaluation": protocol.evaluation}))
    changed = named.model_copy(update=changes)
    return type(changed).model_validate(changed.model_dump(mode="json"))


def _write_protocol(protocol: "Protocol", folder: "RunFolder", made: "RunFolder") -> None:
    from rsd_med.protocol import dump_protocol

    for path in (made.protocol, made.protocol_resolved):
        path.write_text(dump_protocol(protocol), encoding="utf-8")
    known = json.loads(folder.environment.read_text(encoding="utf-8"))
    made.environment.write_text(json.dumps(known | {"protocol_folder": "."}, indent=2), encoding="utf-8")


def _write_held_out(options: argparse.Namespace, size: tuple[int, int], out: Path) -> None:
    """Write held-out images in an order of chance, the first of them the one that the first page shows."""
    import numpy as np

    from rsd_med.base.errors import DataError
    from rsd_med.data.arrays import ArraysSettings

    key = ArraysSettings(root=str(options.held_out.resolve())).build().key  # or a sentence that says what is wrong
    images = np.load(options.held_out, allow_pickle=False)
    if key is not None:
        images = images[key]
    if images.dtype != np.uint8 or images.shape[1:] != tuple(size):
        raise DataError(
            f"{options.held_out.name}: its images are {images.dtype} {images.shape[1:]}; the run's are uint8 "
            f"{tuple(size)}."
        )
    if not 0 <= options.first < len(images):
        raise DataError(f"--first {options.first}: {options.held_out.name} holds {len(images)} images, from 0.")
    order = [number for number in np.random.default_rng(0).permutation(len(images)) if number != options.first]
    np.savez_compressed(out / "held_out.npz", images=images[[options.first, *order[: HELD_OUT - 1]]])


def _write_account(options: argparse.Namespace, name: str, folder: "RunFolder", made: "RunFolder") -> None:
    """Write figures, curves and the model card; folders of the machine that it was trained on are nobody's business."""
    from rsd_med.reporting.model_card import render_card
    from rsd_med.reporting.record import read_run
    from rsd_med.reporting.release import Release

    metrics = json.loads(folder.metrics.read_text(encoding="utf-8")) | {"command": COMMAND}
    made.metrics.write_text(json.dumps(metrics, indent=2), encoding="utf-8")
    shutil.copyfile(folder.metrics_lines, made.metrics_lines)
    made.set_status("done", command=COMMAND)
    licence, datasets = options.licence or "Apache-2.0", () if options.dataset is None else (options.dataset,)
    made.model_card.write_text(
        render_card(replace(read_run(made), name=name), Release(licence, datasets, _usage(options))), encoding="utf-8"
    )


def _usage(options: argparse.Namespace) -> str:
    """Say what the folder is, and whose images are in it."""
    lines = ["This is the demo model of the app: `python -m apps.inspector` opens it.\n"]
    if options.dataset is not None:
        lines.append(
            f"Training images and the held-out ones in `held_out.npz` are from: {options.dataset} "
            f"(licence: {options.licence}). They were resampled, turned into k-space by a simulated scanner "
            "(`python -m rsd_med.simulate`) and undersampled.\n"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
