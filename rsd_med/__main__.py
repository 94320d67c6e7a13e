"""All commands under one name: ``rsd-med COMMAND …``, or ``python -m rsd_med COMMAND …``."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from rsd_med import __version__
from rsd_med.base.command import program, run_command
from rsd_med.base.errors import ProtocolError

COMMANDS = {
    "train": ("rsd_med.train", "teacher, one-step student, evaluation and report, from a protocol"),
    "sample": ("rsd_med.sample", "draw images from a trained run"),
    "evaluate": ("rsd_med.evaluate", "measure a trained run again"),
    "reconstruct": ("rsd_med.reconstruct", "raw k-space to images, uncertainty and a verdict"),
    "serve": ("rsd_med.serve", "at the scanner: raw lines in, images out (MRD streaming protocol)"),
    "simulate": ("rsd_med.simulate", "images to multi-coil k-space"),
    "export": ("rsd_med.export", "a MONAI bundle, ONNX and a hub's folder of a run"),
    "import-weights": ("rsd_med.import_weights", "a run of weights that others have trained"),
    "schema": ("rsd_med.schema", "print the JSON schema of a protocol"),
    "doctor": ("rsd_med.doctor", "check that this machine can train"),
    "inspector": ("rsd_med_inspector.__main__", "the browser app"),
}
"""The module of each command, imported when it is called, and what it does."""


def main(arguments: Sequence[str] | None = None) -> int | None:
    """Run the command that is named first; return its exit code.

    Raises
    ------
    ProtocolError
        For the app where it is not installed.
    """
    parser = argparse.ArgumentParser(
        prog=program("rsd_med"),
        usage="%(prog)s COMMAND …",
        description="Clean medical images from corrupted scans alone. COMMAND --help says more of each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands:\n" + "\n".join(f"  {name:15}{what}" for name, (_, what) in COMMANDS.items()),
    )
    parser.add_argument("--version", action="version", version=f"rsd_med {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="what to do")
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(words[:1])
    module = COMMANDS[options.command][0]
    try:
        command = import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ProtocolError(
            "the app is not installed here; in a checkout of the repository run: python -m apps.inspector"
        ) from error
    code: int | None = command.main(words[1:])
    return code


def script() -> int:
    """Run as the console script ``rsd-med``."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(script())
