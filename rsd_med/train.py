"""Train a teacher and its student: ``python -m rsd_med.train PROTOCOL``."""

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import program, run_command
from rsd_med.base.errors import ProtocolError
from rsd_med.base.progress import tell_on_stderr, telling

if TYPE_CHECKING:
    from rsd_med.experiment import Experiment
    from rsd_med.given_teacher import GivenTeacher
    from rsd_med.protocol.protocol import Protocol
    from rsd_med.runs.checkpoints import Checkpoint
    from rsd_med.runs.distribution import Distribution
    from rsd_med.runs.run_folder import RunFolder


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.train"),
        description="Train a corruption-aware teacher on measurements, distil it into a student of one network call or "
        "a few, evaluate both and write a report.",
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
        "PATH: start from this checkpoint, a folder checkpoints/<images> of a run",
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="RUN",
        help="distil the finished teacher of this run folder instead of training one; data, corruption, objective and "
        "network must be its own",
    )
    parser.add_argument(
        "--stage",
        choices=["teacher", "student", "reconstructor", "all"],
        default="all",
        help="what to train; a reconstructor needs a teacher (start: teacher) or nothing (start: fresh)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="check the protocol, open the data, run every network forward and backward once; write nothing",
    )
    parser.add_argument(
        "--device-memory",
        type=float,
        metavar="GIB",
        help="with --dry-run: count whether the run fits on GPUs of so many GiB, such as 80 (default: the one here)",
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
        tell = None if options.quiet or not distribution.is_main else tell_on_stderr
        try:
            with telling(tell):
                return carry_out(options, distribution, sys.argv[1:] if arguments is None else arguments)
        finally:
            distribution.close()


def carry_out(options: argparse.Namespace, distribution: "Distribution", arguments: list[str]) -> int:
    """Prepare a run, on all ranks or on none, and train."""
    from rsd_med.experiment import Experiment
    from rsd_med.protocol import find_protocol, load_protocol, read_text
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.workflow import train

    with distribution.together():
        options.protocol, base_dir = find_protocol(options.protocol)
        options.text = read_text(options.protocol)
        protocol = load_protocol(options.protocol, options.set, options.text)
        run = RunFolder(options.run_dir or Path("runs") / protocol.name, protocol.engine.keep_checkpoints)
        experiment = Experiment(
            protocol, base_dir, stored_autotune=run.autotune, distribution=distribution, completed=run.completed
        )
        if options.dry_run:
            from rsd_med.dry_run import FEW_IMAGES, dry_run
            from rsd_med.estimates import with_estimates
            from rsd_med.given_teacher import open_teacher
            from rsd_med.opened_run import completing

            given = None if options.teacher is None else open_teacher(options.teacher)
            experiment = with_estimates(
                replace(experiment, at_most=FEW_IMAGES), None if given is None else given.protocol
            )
            if given is not None:
                given.require_agreement(experiment.protocol, base_dir)
            objective = experiment.protocol.teacher.objective
            if objective.completes and not objective.after_reconstructor:
                completing(experiment, run)
            say_odd_values(experiment)
            shown = dry_run(experiment, options.device_memory)
            if distribution.is_main:
                print(shown)
            return 0
        if distribution.is_main:
            run.lock.acquire()
    try:
        say_odd_values(experiment)
        experiment, checkpoint = prepare(options, experiment, run)
        command = "python -m rsd_med.train " + shlex.join(arguments)
        train(experiment, run, options.stage, checkpoint, command, options.quiet)
    finally:
        run.lock.release()
    return 0


def say_odd_values(experiment: "Experiment") -> None:
    """Warn of values that are allowed and seldom meant, once for each."""
    from rsd_med.protocol.hints import odd_values

    if experiment.distribution.is_main:
        for sentence in odd_values(experiment.protocol):
            print(f"warning: {sentence}", file=sys.stderr)


def prepare(
    options: argparse.Namespace, experiment: "Experiment", run: "RunFolder"
) -> "tuple[Experiment, Checkpoint | None]":
    """Find where to go on from, open the data, begin the folder.

    Returns
    -------
    tuple[Experiment, Checkpoint | None]
        The experiment with all that is estimated known, and the checkpoint or None.
    """
    from rsd_med.estimates import with_estimates
    from rsd_med.opened_run import completing, finished
    from rsd_med.protocol import dump_protocol, load_protocol

    distribution, seed = experiment.distribution, experiment.protocol.seed
    with distribution.together():
        checkpoint, warnings = find_start(options, run)
        given = find_teacher(options, experiment.protocol, run, checkpoint)
        goes_on = checkpoint is not None and options.resume == "auto" and run.protocol_resolved.exists()
        begun = load_protocol(run.protocol_resolved) if goes_on else None if given is None else given.protocol
        experiment = with_estimates(experiment, begun)
        if goes_on:
            refuse_other_protocol(run.protocol_resolved, experiment.protocol)
        if given is not None:
            given.require_agreement(experiment.protocol, experiment.base_dir)
        if checkpoint is not None and checkpoint.stage not in experiment.protocol.stages:
            raise ProtocolError(
                f"{checkpoint.folder} is a checkpoint of a {checkpoint.stage}, and this protocol trains none; choose "
                "another --run-dir or --resume."
            )
        if options.stage == "reconstructor":
            _ = experiment.reconstructor_settings
        objective = experiment.protocol.teacher.objective
        if objective.completes and not objective.after_reconstructor and options.stage != "reconstructor":
            completing(experiment, run)
        if given is None and options.stage != "all":
            for name in experiment.protocol.needed_for(options.stage):
                finished(run, name)
        # The data are opened, and one is measured, before anything is written: what is wrong leaves no folder behind.
        experiment.check()
    with distribution.together():
        if distribution.is_main:
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
            run.create(options.text, dump_protocol(experiment.protocol), seed, experiment.base_dir)
            if given is not None and checkpoint is None:
                given.adopt(run)
    with distribution.together():
        if given is not None and checkpoint is None:
            checkpoint, _ = run.checkpoints.newest()
        if distribution.is_main:
            # Lines beyond the checkpoint are from steps that will be taken again.
            stages = experiment.protocol.stages
            first = stages[0] if options.stage == "all" else options.stage
            if checkpoint is None:
                run.forget_metrics_after(first, 0, stages)
            else:
                run.forget_metrics_after(checkpoint.stage, checkpoint.images, stages)
    return experiment, checkpoint


def find_start(options: argparse.Namespace, run: "RunFolder") -> "tuple[Checkpoint | None, list[str]]":
    """Find the checkpoint to go on from, and what is to be said about damaged ones."""
    from rsd_med.runs.checkpoints import verify

    checkpoint, warnings = run.checkpoints.newest()
    if options.resume == "never" and checkpoint is not None:
        raise ProtocolError(
            f"--resume never: {run.path} already holds checkpoints; choose another --run-dir, or leave --resume out to "
            "go on."
        )
    if options.resume not in ("auto", "never"):
        named = Path(options.resume)
        if not named.is_dir():
            raise ProtocolError(f"--resume {named}: there is no such folder; name a checkpoint, checkpoints/<images>.")
        if (named / run.protocol_resolved.name).is_file() or (named / run.checkpoints.folder.name).is_dir():
            raise ProtocolError(
                f"--resume {named}: this is a run folder; --run-dir {named} goes on in it, --teacher {named} distils "
                "its teacher, and --resume takes one of its checkpoints/<images>."
            )
        checkpoint = verify(named)
    return checkpoint, warnings


def find_teacher(
    options: argparse.Namespace, protocol: "Protocol", run: "RunFolder", checkpoint: "Checkpoint | None"
) -> "GivenTeacher | None":
    """Open the run whose teacher is to be distilled; make sure that a student has one."""
    from rsd_med.given_teacher import open_teacher
    from rsd_med.opened_run import finished

    if options.teacher is None:
        last = None if checkpoint is None else checkpoint.stage
        if last == protocol.stages[-1] == "reconstructor" and options.stage != "reconstructor":
            _require_stages_before(run)
        if checkpoint is None and run.teacher.exists():
            raise ProtocolError(f"{run.path} was begun with --teacher: give it again.")
        if options.stage == "student" or (checkpoint is not None and checkpoint.stage == "student"):
            finished(run, "teacher")
        return None
    if options.stage == "teacher" or options.resume not in ("auto", "never"):
        raise ProtocolError("--teacher takes a finished teacher: leave out --stage teacher and --resume PATH.")
    given = open_teacher(options.teacher)
    if run.teacher.exists():
        given.require_same(run)
    elif checkpoint is not None:
        raise ProtocolError(f"{run.path} has trained a teacher of its own; choose another --run-dir for --teacher.")
    return given


def _require_stages_before(run: "RunFolder") -> None:
    """Refuse to train teacher or student where the reconstructor came first; ProtocolError.

    Checkpoints are named by the images of all stages before.
    """
    if run.checkpoints.newest("student")[0] is None:
        raise ProtocolError(
            f"{run.path} has trained its reconstructor first; choose another --run-dir for teacher and student."
        )


def refuse_other_protocol(path: Path, protocol: "Protocol") -> None:
    """Refuse to go on in a folder that another protocol has begun; ProtocolError names the first difference.

    How a run is carried out (``engine``) and described may change, and settings that a newer version knows may be at
    their defaults.
    """
    from rsd_med.protocol import dump_protocol, load_protocol

    begun = load_protocol(path).model_copy(update={"engine": protocol.engine, "description": protocol.description})
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
