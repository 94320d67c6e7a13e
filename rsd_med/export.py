"""Pass a model on: ``python -m rsd_med.export RUN --licence LICENCE --out DIR``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import program, run_command

if TYPE_CHECKING:
    from rsd_med.sharing.package import Package

FORMS = ("bundle", "onnx", "hub")
NETWORKS = ("student", "teacher", "reconstructor")


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.export"),
        description="Write the networks of a run for people who do not have rsd_med: a MONAI bundle, ONNX, and a "
        "folder for model hubs.",
        epilog="Exit codes: 0 done, 2 bad usage, 3 bad run.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that rsd_med.train has filled")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make, with one for each form")
    parser.add_argument(
        "--licence",
        metavar="LICENCE",
        help="licence under which the weights may be passed on, as the training data allow: CC-BY-4.0, say; or unknown",
    )
    parser.add_argument(
        "--dataset",
        action="append",
        default=[],
        metavar="NAME",
        help="name of the training data on the hub (repeatable)",
    )
    parser.add_argument("--form", action="append", choices=FORMS, help="what to write (repeatable; default: all three)")
    parser.add_argument(
        "--network",
        action="append",
        choices=NETWORKS,
        help="which network (repeatable; default: all that are trained)",
    )
    parser.add_argument(
        "--conditions",
        type=int,
        default=16,
        metavar="N",
        help="training scans whose coil maps and masks go with networks that need some (default: 16)",
    )
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="bundle and ONNX take images of other sizes, too; exporting takes longer",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)

    from rsd_med.base.errors import ProtocolError
    from rsd_med.base.files import folder_written_aside, remove_abandoned
    from rsd_med.opened_run import open_run
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.sharing.bundle import write_bundle
    from rsd_med.sharing.hub import write_hub_folder
    from rsd_med.sharing.models import load_package
    from rsd_med.sharing.onnx_folder import write_onnx_folder
    from rsd_med.sharing.package import require_licence
    from rsd_med.sharing.programs import require_onnx

    forms = options.form or FORMS
    if options.conditions < 1:
        raise ProtocolError("--conditions must be at least 1.")
    if options.out.exists():
        raise ProtocolError(f"--out {options.out} is there already; name a new folder.")
    if "onnx" in forms:
        require_onnx()
    run = RunFolder(options.run)
    experiment = open_run(run, device="cpu")
    licence = require_licence(options.licence, experiment.protocol)
    package = load_package(
        run, experiment, licence, options.dataset, options.network, options.conditions, options.any_size
    )
    writers = {
        "bundle": lambda folder: write_bundle(package, folder),
        "onnx": lambda folder: write_onnx_folder(package, folder),
        "hub": lambda folder: write_hub_folder(package, experiment, options.conditions, folder),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(options.out)
    with folder_written_aside(options.out) as side:
        for form in forms:
            (side / form).mkdir()
            for remark in writers[form](side / form):
                print(f"warning: {remark}", file=sys.stderr)
    _say(package, options)
    return 0


def _say(package: "Package", options: argparse.Namespace) -> None:
    """Say what was written, and what its user should know."""
    from rsd_med.sharing.package import UNKNOWN

    if package.licence == UNKNOWN:
        print("warning: the licence is unknown: keep the folder where the data may be used.", file=sys.stderr)
    if "coil_maps" in package.models[0].conditions.tensors():
        print(
            f"warning: coil maps of up to {options.conditions} training scans go with the model; they show the outline "
            "of each body.",
            file=sys.stderr,
        )
    names = ", ".join(model.graph.name for model in package.models)
    print(f"{names}: {options.out} (licence of the weights: {package.licence})")


if __name__ == "__main__":
    sys.exit(run_command(main))
