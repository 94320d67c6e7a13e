"""Train a teacher and its one-step student: ``python -m rsd_med.train PROTOCOL``."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import program, run_command
from rsd_med.base.errors import ProtocolError

if TYPE_CHECKING:
    from rsd_med.experiment import Experiment
    from rsd_med.protocol.protocol import Protocol
    from rsd_med.runs.checkpoints import Checkpoint
    from rsd_med.runs.distribution import Distribution
    from rsd_med.runs.run_folder import RunFolder


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.train"),
        description="Train a corruption-aware teacher on measurements, distil it into a one-step student, evaluate "
        "both and write a report.",
        epilog="Exit codes: 0 done, 2 bad protocol or usage, 3 bad data, 4 diverged, 75 interrupted and resumable.",
    )
    parser.add_argument(
        "protocol", type=Path, metavar="PROTOCOL", help="what to do: a file, or a packaged protocol's name: quickstart"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", help="override one value of the protocol (repeatable)"
    )
    parser.add_argument("--run-dir", type=Path, help="folder to fill (default: runs/<name of the protocol>)")
    parser.add_argument(
        "--resume",
        default="auto",
        metavar="auto|never|PATH",
        help="auto: go on from the newest good checkpoint of the run folder; never: refuse a folder that has one; "
        "PATH: start from this checkpoint",
    )
    parser.add_argument("--stage", choices=["teacher", "student", "all"], default="all", help="what to train")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the protocol, open the data, run every network forward and backward once; write nothing",
    )
    parser.add_argument("--quiet", action="store_true", help="print warnings and errors alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)

    from rsd_med.training.signals import StopRequest

    # Until training begins there is nothing to save: a signal ends the command where it arrives.
    with StopRequest() as stop, stop.at_once():
        from rsd_med.runs.distribution import connect  # takes seconds

        distribution = connect()
        try:
            return carry_out(options, distribution, sys.argv[1:] if arguments is None else arguments)
        finally:
            distribution.close()


def carry_out(options: argparse.Namespace, distribution: "Distribution", arguments: list[str]) -> int:
    """Prepare a run, on all ranks or on none, and train."""
    from rsd_med.experiment import Experiment
    from rsd_med.protocol import find_protocol, load_protocol
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.workflow import train

    with distribution.together():
        options.protocol, base_dir = find_protocol(options.protocol)
        protocol = load_protocol(options.protocol, options.set)
        run = RunFolder(options.run_dir or Path("runs") / protocol.name, protocol.engine.keep_checkpoints)
        experiment = Experiment(protocol, base_dir, stored_autotune=run.autotune, distribution=distribution)
        if options.dry_run:
            from rsd_med.dry_run import dry_run

            shown = dry_run(experiment.with_estimates())
            if distribution.is_main:
                print(shown)
            return 0
        if distribution.is_main:
            run.lock.acquire()
    try:
        experiment, checkpoint = prepare(options, experiment, run)
        command = "python -m rsd_med.train " + shlex.join(arguments)
        train(experiment, run, options.stage, checkpoint, command, options.quiet)
    finally:
        run.lock.release()
    return 0


def prepare(
    options: argparse.Namespace, experiment: "Experiment", run: "RunFolder"
) -> "tuple[Experiment, Checkpoint | None]":
    """Find where to go on from, open the data, begin the folder.

    Returns
    -------
    tuple[Experiment, Checkpoint | None]
        The experiment with all that is estimated known, and the checkpoint or None.
    """
    from rsd_med.protocol import dump_protocol, load_protocol
    from rsd_med.runs.checkpoints import verify

    distribution, seed = experiment.distribution, experiment.protocol.seed
    with distribution.together():
        checkpoint, warnings = run.checkpoints.newest()
        if options.resume not in ("auto", "never"):
            checkpoint = verify(Path(options.resume))
        if checkpoint is not None and options.resume == "never":
            raise ProtocolError(
                f"--resume never: {run.path} already holds checkpoints; choose another --run-dir, or leave --resume "
                "out to go on."
            )
        goes_on = checkpoint is not None and options.resume == "auto" and run.protocol_resolved.exists()
        experiment = experiment.with_estimates(load_protocol(run.protocol_resolved) if goes_on else None)
        if goes_on:
            refuse_other_protocol(run.protocol_resolved, experiment.protocol)
        # The data are opened, and one is measured, before anything is written: what is wrong leaves no folder behind.
        _ = experiment.augmentation, experiment.objective, experiment.dataset[0], experiment.reference
    with distribution.together():
        if distribution.is_main:
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
            resolved = dump_protocol(experiment.protocol)
            run.create(options.protocol.read_text(encoding="utf-8"), resolved, seed, experiment.base_dir)
            # Lines beyond the checkpoint are from steps that will be taken again.
            run.forget_metrics_after(*((checkpoint.stage, checkpoint.images) if checkpoint else ("teacher", 0)))
    return experiment, checkpoint


def refuse_other_protocol(path: Path, protocol: "Protocol") -> None:
    """Refuse to go on in a folder that another protocol has begun; ProtocolError names the first difference.

    How a run is carried out (``engine``) may change, and settings that a newer version knows may be at their defaults.
    """
    from rsd_med.protocol import dump_protocol, load_protocol

    begun = load_protocol(path).model_copy(update={"engine": protocol.engine})
    before, now = dump_protocol(begun).splitlines(), dump_protocol(protocol).splitlines()
    if before != now:
        pairs = zip(before, now, strict=False)
        old, new = next(((a, b) for a, b in pairs if a != b), ("(fewer lines)", "(more lines)"))
        raise ProtocolError(
            f"{path.parent}: this run was begun with another protocol ({old.strip()!r} then, {new.strip()!r} now); "
            "choose another --run-dir, or go on with the old protocol."
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
