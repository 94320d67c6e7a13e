"""Open the browser app: ``python -m apps.inspector [RUN] [--host H] [--port N]``."""

import argparse
import sys
from pathlib import Path
from typing import Any, cast

from rsd_med.base.command import program, run_command

DEMO = Path(__file__).parent / "demo_model"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program(__package__ or ""),
        description="Look at a run's samples, reconstruct scans, follow training, in a browser. "
        "Research use only. Not for diagnosis.",
    )
    parser.add_argument(
        "run", type=Path, nargs="?", metavar="RUN", help="run folder that rsd_med.train fills (default: a demo model)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="where to listen (default: this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")
    parser.add_argument(
        "--compare", type=Path, action="append", default=[], metavar="RUN", help="another run to compare (repeatable)"
    )
    parser.add_argument("--study", type=Path, metavar="STUDY.yaml", help="reader study to offer")
    parser.add_argument("--users", type=Path, metavar="FILE", help="logins, required to listen beyond this machine")
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME", help="name that a proxy passes on (repeatable)"
    )
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="proxy that is believed when it says who asks (X-Forwarded-For; repeatable)",
    )
    parser.add_argument("--certificate", type=Path, metavar="PEM", help="speak TLS with this certificate")
    parser.add_argument("--key", type=Path, metavar="PEM", help="private key of the certificate")
    parser.add_argument("--max-upload", type=int, default=512, metavar="MIB", help="largest upload (default: 512)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the server until it is stopped."""
    options = parse(arguments)
    from rsd_med.base.errors import DataError, ProtocolError

    if not 1 <= options.port <= 65535 or not 1 <= options.max_upload <= 65536:
        raise ProtocolError("--port goes from 1 to 65535, and --max-upload from 1 to 65536 MiB.")
    if (options.certificate is None) != (options.key is None):
        raise ProtocolError("--certificate and --key belong together.")
    run = options.run if options.run is not None else DEMO
    for folder in (run, *options.compare):
        if not (folder / "protocol.resolved.yaml").is_file():
            raise DataError(f"{folder} is no run folder: it holds no protocol.resolved.yaml.")
    _require_free(options.host, options.port)
    print("Starting …", flush=True)  # what follows takes seconds
    return _serve(options, run)


def _require_free(host: str, port: int) -> None:
    """Say before the imports of several seconds that somebody listens there already."""
    import socket

    from rsd_med.base.errors import ProtocolError

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ProtocolError(f"--host {host} --port {port}: cannot listen there ({error.strerror}).") from error


def _serve(options: argparse.Namespace, run: Path) -> int:
    try:
        import uvicorn

        from .server import build_server
        from .settings import ServerSettings
        from .web.connections import BACKLOG, Doorkeeper, limits_here
        from .web.quiet_log import quieten
    except ImportError as error:
        from rsd_med.base.errors import ProtocolError

        raise ProtocolError(f"the app needs {error.name}: pip install 'rsd_med[app]'.") from error
    settings = ServerSettings(
        run=run.resolve(),
        demo=options.run is None,
        host=options.host,
        port=options.port,
        names=tuple(options.allow_host),
        users=options.users,
        secure=options.certificate is not None,
        upload_bytes=options.max_upload << 20,
        study=options.study,
        compare=tuple(folder.resolve() for folder in options.compare),
    )
    gate, store, queue = build_server(settings)
    scheme = "https" if settings.secure else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"Open {scheme}://{host}:{settings.port} in a browser; Ctrl-C stops.", flush=True)
    server = uvicorn.Server(
        uvicorn.Config(
            gate,
            host=settings.host,
            port=settings.port,
            # Addresses hold ids; what people look at is nobody's business, not even a log's.
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=bool(options.proxy),
            forwarded_allow_ips=options.proxy,
            http=cast(Any, Doorkeeper(limits_here(), frozenset(options.proxy))),
            backlog=BACKLOG,
            ws="none",
            ssl_certfile=options.certificate,
            ssl_keyfile=options.key,
            timeout_graceful_shutdown=3,
            h11_max_incomplete_event_size=64 << 10,
        )
    )
    quieten()
    try:
        server.run()
    except KeyboardInterrupt:
        pass  # the way to stop it; uvicorn hands the signal on once everything is shut
    finally:
        queue.close()
        store.close()
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
