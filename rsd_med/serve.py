"""Reconstruct at the scanner: ``python -m rsd_med.serve RUN`` speaks the MRD streaming protocol."""

import argparse
import logging
import signal
import sys
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING

from rsd_med.base.command import program, run_command
from rsd_med.choices import add_choices, choices_of
from rsd_med.reconstruction import PriorRun, Reconstructor

if TYPE_CHECKING:
    from rsd_med.scanner.server import ScannerServer
    from rsd_med.scanner.session import Shared

PORT = 9002
"""The protocol's own."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.serve"),
        description="Take raw lines from a scanner and send images back, by the MRD streaming protocol (FIRE, "
        "OpenRecon, Gadgetron's clients). Computed, for research, not for diagnosis. See docs/scanner.md.",
    )
    parser.add_argument(
        "run",
        nargs="?",
        default="-",
        metavar="RUN",
        help="run folder that rsd_med.train has filled (default -: none)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="where to listen (default %(default)s; 0.0.0.0: on all networks)",
    )
    parser.add_argument("--port", type=int, default=PORT, help="default %(default)s")
    parser.add_argument(
        "--check", action="store_true", help="do not serve: ask whether a server answers at --host and --port"
    )
    parser.add_argument(
        "--configs", type=Path, metavar="DIR", help="folder of NAME.yaml: further configurations that clients may name"
    )
    limits = parser.add_argument_group("limits")
    limits.add_argument("--connections", type=int, default=4, metavar="N", help="at once (default %(default)s)")
    limits.add_argument(
        "--memory", type=float, default=8.0, metavar="GIB", help="raw data held, all connections (default %(default)s)"
    )
    limits.add_argument(
        "--idle", type=float, default=300.0, metavar="S", help="seconds without a line, at most (default %(default)s)"
    )
    limits.add_argument(
        "--minutes", type=float, default=60.0, metavar="M", help="of one connection, at most (default %(default)s)"
    )
    add_choices(parser)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command until it is ended; return its exit code.

    Raises
    ------
    ProtocolError
        If the options do not go together, or nobody can listen there.
    DataError
        If the run cannot be used, or with ``--check`` nobody answers.
    """
    options = parser().parse_args(arguments)
    _check(options)
    if options.check:
        return _answer(options.host, options.port)
    choices = choices_of(options)
    choices.check(with_run=options.run != "-")

    from rsd_med.base.devices import device_kind
    from rsd_med.protocol.checking import check
    from rsd_med.scanner.configuration import Configurations, ScannerSettings
    from rsd_med.scanner.incoming import Deadlines
    from rsd_med.scanner.session import Shared

    device = device_kind(options.device, "--device")
    run = None if options.run == "-" else PriorRun(Path(options.run), device)
    method = Reconstructor(choices, run).method  # what is wrong is said now, and the network is loaded
    chosen = {name: getattr(choices, name) for name in choices.__dataclass_fields__}
    default = check(ScannerSettings, chosen, "The options")
    shared = Shared(
        configurations=Configurations(default, options.configs, with_run=run is not None),
        run=run,
        device=device,
        deadlines=Deadlines(idle=options.idle, session=60 * options.minutes),
        bytes_each=int(options.memory * 2**30 / options.connections),
        computing=Lock(),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    with _listening(options.host, options.port, shared, options.connections) as server:
        print(f"serving {method} at {options.host}:{server.server_address[1]}; Ctrl-C ends it", flush=True)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: Thread(target=server.shutdown).start())
        server.serve_forever()
    return 0


def _check(options: argparse.Namespace) -> None:
    from rsd_med.base.errors import ProtocolError

    for name, least, most in (
        ("port", 0, 65535),
        ("connections", 1, 1000),
        ("memory", 0.001, 1e5),
        ("idle", 1, 1e5),
        ("minutes", 0.01, 1e5),
    ):
        value = getattr(options, name)
        if not least <= value <= most:
            raise ProtocolError(f"--{name} must be from {least} to {most:g}, not {value:g}.")
    if options.configs is not None and not options.configs.is_dir():
        raise ProtocolError(f"--configs {options.configs}: there is no such folder.")


def _answer(host: str, port: int) -> int:
    from rsd_med.base.errors import DataError
    from rsd_med.scanner.probe import answers

    if not answers(host, port):
        raise DataError(f"No server answers at {host}:{port}; start one with {program('rsd_med.serve')}.")
    print(f"a server answers at {host}:{port}")
    return 0


def _listening(host: str, port: int, shared: "Shared", connections: int) -> "ScannerServer":
    from rsd_med.base.errors import ProtocolError
    from rsd_med.scanner.server import ScannerServer

    try:
        return ScannerServer((host, port), shared, connections)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProtocolError(f"--host {host} --port {port}: cannot listen there ({reason}).") from error


if __name__ == "__main__":
    sys.exit(run_command(main))
