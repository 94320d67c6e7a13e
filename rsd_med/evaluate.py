"""Measure a trained run again: ``python -m rsd_med.evaluate RUN [--reference PATH] [--num N] [--seeds N]``."""

import argparse
import shlex
import sys
from pathlib import Path

from rsd_med.base.command import program, run_command


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.evaluate"),
        description="Compare teacher and student of a run: distances, seconds per image, report. Overwrites "
        "metrics.json, the gallery, report.html and model_card.md.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that rsd_med.train has filled")
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="PATH",
        help="clean data for evaluation alone, of the kind of the protocol's reference or else its data; "
        "default: the protocol's",
    )
    parser.add_argument("--num", type=int, metavar="N", help="samples of each model (default: the protocol's)")
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="draw N times: means and standard deviations (default: the protocol's)",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)

    from rsd_med.base.errors import ProtocolError
    from rsd_med.base.progress import tell_on_stderr, telling
    from rsd_med.opened_run import open_run
    from rsd_med.reporting.model_card import write_model_card
    from rsd_med.reporting.report import build_report
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.runs.run_logger import RunLogger
    from rsd_med.runs.shared_folder import is_shared
    from rsd_med.workflow import evaluate

    if options.num is not None and options.num < 2:
        raise ProtocolError("--num must be at least 2: a distance needs a spread.")
    if options.seeds is not None and options.seeds < 1:
        raise ProtocolError("--seeds must be at least 1.")
    if is_shared(options.run):
        raise ProtocolError(
            f"{options.run} is a model that was passed on, without its data; evaluate the run it is from."
        )
    run = RunFolder(options.run)
    experiment = open_run(run, options.reference, options.num, options.seeds)
    command = "python -m rsd_med.evaluate " + shlex.join(sys.argv[1:] if arguments is None else arguments)
    with telling(tell_on_stderr), RunLogger(run) as run_logger:
        if options.reference is not None:
            read_as = experiment.protocol.evaluation.reference
            run_logger.say(
                f"reference: {options.reference}, read as data of kind {read_as.kind if read_as else '?'}, with the "
                "protocol's settings; of a fully sampled scan, the image that its coils give together"
            )
        evaluate(experiment, run, run_logger, command)
    build_report(run)
    write_model_card(run)
    print(run.report)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
