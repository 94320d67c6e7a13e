"""Logins for servers that listen beyond loopback, and the command that adds one: ``python -m …web.users FILE NAME``.

The file holds a line ``name:salt:hash`` for each user (scrypt); it is never served, and passwords are never logged.
"""

import argparse
import getpass
import hashlib
import hmac
import re
import secrets
import sys
from pathlib import Path

from rsd_med.base.command import run_command
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.files import write_text

from .throttle import Throttle

COMMAND = f"python -m {__package__}.users"
"""What adds a login, under the name by which this package was installed."""
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
SHORTEST = 10


def scrypt(password: str, salt: bytes) -> bytes:
    """Derive what is stored of a password (RFC 7914; N = 2^14, r = 8, p = 1: 16 MiB for each try)."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1, maxmem=64 << 20)


class Users:
    """Names and what is stored of their passwords.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    DataError
        When it is missing, holds nobody, or cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._stored: dict[str, tuple[bytes, bytes]] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            for line in filter(None, lines):
                name, salt, known = line.split(":")
                self._stored[name] = (bytes.fromhex(salt), bytes.fromhex(known))
        except (OSError, ValueError) as error:
            raise DataError(f"{path.name}: no readable file of logins; make one with {COMMAND} FILE NAME.") from error
        if not self._stored:
            raise DataError(f"{path.name} holds no login; add one with {COMMAND} FILE NAME.")
        self._throttle = Throttle()

    def check(self, name: str, password: str, peer: str = "") -> bool:
        """Return whether the password is the user's; the time it takes does not tell whether the name exists.

        Raises
        ------
        DataError
            After too many wrong ones from the same peer.
        """
        self._throttle.begin(name, peer)
        salt, known = self._stored.get(name, (b"nobody", b""))
        right = hmac.compare_digest(scrypt(password[:1024], salt), known)
        if right:
            self._throttle.forgive(name, peer)
        return right


def add_user(path: Path, name: str, password: str) -> None:
    """Add a user, or give one a new password.

    Raises
    ------
    ProtocolError
        For a name or a password that will not do.
    """
    if not NAME.fullmatch(name):
        raise ProtocolError("a login's name has letters, digits, '.', '_' and '-' only, at most 64.")
    if len(password) < SHORTEST:
        raise ProtocolError(f"a password has at least {SHORTEST} characters.")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    salt = secrets.token_bytes(16)
    others = [line for line in lines if line and line.split(":")[0] != name]
    lines = [*others, f"{name}:{salt.hex()}:{scrypt(password, salt).hex()}"]
    write_text(path, "\n".join(lines) + "\n", private=True)


def main(arguments: list[str] | None = None) -> int:
    """Ask for a password and store what is needed to know it again."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Add a login, or change its password.")
    parser.add_argument("file", type=Path, metavar="FILE", help="the file that --users names")
    parser.add_argument("name", metavar="NAME", help="the login's name")
    options = parser.parse_args(arguments)
    password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    add_user(options.file, options.name, password)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
