"""How the server runs, as the command line says it."""

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ServerSettings:
    """How the server runs.

    Attributes
    ----------
    run
        Folder of the run, or of the demo model.
    demo
        Whether it is the demo model.
    host, port
        Where it listens.
    names
        Further names it is addressed by (a proxy's, say).
    users
        File of logins; required beyond loopback.
    secure
        Whether it speaks TLS.
    upload_bytes
        Largest upload.
    study
        ``study.yaml`` of a reader study, if there is one.
    compare
        Further runs for the training tab.
    """

    run: Path
    demo: bool = False
    host: str = "127.0.0.1"
    port: int = 7860
    names: tuple[str, ...] = ()
    users: Path | None = None
    secure: bool = False
    upload_bytes: int = 512 << 20
    study: Path | None = None
    compare: tuple[Path, ...] = ()
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
