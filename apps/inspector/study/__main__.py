"""Check a study and read its answers: ``python -m apps.inspector.study STUDY.yaml [--code] [--csv FILE]``."""

import argparse
import sys
from pathlib import Path

from rsd_med.base.command import run_command
from rsd_med.base.files import write_text


def _power_of(cases: int, readers: int) -> str:
    """Say which preference a study of this size finds."""
    from .power import cases_needed

    given = f"{cases} case{'s' if cases != 1 else ''}, {readers} reader{'s' if readers != 1 else ''}"
    for share in range(55, 100, 5):
        if cases_needed(share / 100, readers=readers, correlation=0.5) <= cases:
            return (
                f"{given}: finds a preference of {share} % or more with a power of 80 % (two arms, no ties, "
                "correlation of readers 0.5); others: python -m apps.inspector.study.power --help"
            )
    return f"{given}: too few to find even a preference of 95 % with a power of 80 %"


def main(arguments: list[str] | None = None) -> int:
    """Check the study; print or write what is asked for."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}", description="Check a reader study, and read its answers."
    )
    parser.add_argument("study", type=Path, metavar="STUDY.yaml", help="the study")
    parser.add_argument(
        "--code", action="store_true", help="print the coordinator's code, which opens the analysis page"
    )
    parser.add_argument("--pins", action="store_true", help="print the readers' PINs, asked for where nobody logs in")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all answers as CSV")
    parser.add_argument("--analysis", action="store_true", help="print the analysis")
    options = parser.parse_args(arguments)

    from .analysis import CAVEAT, analyse
    from .study import Study
    from .trials import trials_of

    study = Study(options.study.resolve())
    if options.code:
        print(study.coordinator_code)
    if options.pins:
        for reader in study.settings.readers:
            print(f"{reader}: {study.pin(reader)}")
    if options.csv is not None:
        write_text(options.csv, study.csv())
    if options.analysis:
        for table in analyse(study.settings, study.answers()):
            print(f"\n{table.title}\n  " + " | ".join(table.columns))
            for row in table.rows:
                print("  " + " | ".join(row))
        print(f"\n{CAVEAT}")
    if not (options.code or options.pins or options.csv or options.analysis):
        for reader in study.settings.readers:
            done, total = len(study.answer_log.read(reader)), len(trials_of(study.settings, reader))
            print(f"{reader}: {done} of {total} answered")
        if study.settings.question.kind == "preference":
            print(_power_of(len(study.settings.cases), len(study.settings.readers)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
