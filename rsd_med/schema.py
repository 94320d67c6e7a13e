"""Command: print the JSON schema of a protocol, for editors that complete keys and mark mistakes."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rsd_med.base.command import program, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, return the exit code."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.schema"),
        description="Print the JSON schema of a protocol. Editors that know the YAML language server use it through "
        "a first line such as: # yaml-language-server: $schema=../docs/protocol.schema.json",
    )
    parser.add_argument("--metrics", action="store_true", help="of a line of a run's metrics.jsonl, not of a protocol")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write to FILE instead")
    options = parser.parse_args(arguments)
    return run_command(lambda: _write_schema(options.out, metrics=options.metrics))


def _write_schema(out: Path | None, *, metrics: bool) -> None:
    """Write the schema to a file or to stdout."""
    text = schema_text(metrics=metrics)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


def schema_text(*, metrics: bool = False) -> str:
    """Return the schema as it stands in ``docs/protocol.schema.json``, or that of a line of ``metrics.jsonl``."""
    import json

    from rsd_med.protocol import protocol_json_schema
    from rsd_med.runs.metrics_line import metrics_json_schema

    return json.dumps(metrics_json_schema() if metrics else protocol_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.exit(main())
