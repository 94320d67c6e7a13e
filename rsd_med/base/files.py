"""Files and folders that are whole or not there: the one place where something is written under its final name."""

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path, *, durable: bool = False, private: bool = False) -> Iterator[Path]:
    """Give a path to write a file to; it takes the real name when the block ends well, and vanishes when it does not.

    Who may read the file is up to the umask, whatever the writer does: safetensors makes files for its owner alone.

    Parameters
    ----------
    path
        Where the file shall be; its folder exists. What stands there is replaced in one step.
    durable
        Whether the file must survive a power cut right after the block: it is flushed to the disk.
    private
        Whether nobody but the owner may read it.

    Yields
    ------
    Path
        A hidden neighbour with the same suffix, by which writers choose the format.
    """
    side = _beside(path)
    try:
        side.touch(0o600 if private else 0o666)
        mode = stat.S_IMODE(side.stat().st_mode)
        yield side
        side.chmod(mode)
        if durable:
            flush(side)
        os.replace(side, path)
        if durable:
            flush(path.parent)
    finally:
        side.unlink(missing_ok=True)


@contextmanager
def folder_written_aside(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give an empty folder to write files to; it takes the real name at the end, as with `written_aside`.

    Parameters
    ----------
    path
        Where the folder shall be; the folder above exists. What stands there is put away in one step and removed.
    durable
        Whether folder and files must survive a power cut right after the block.

    Yields
    ------
    Path
        A hidden neighbour.
    """
    side, former = _beside(path), _beside(path)
    try:
        side.mkdir()
        yield side
        for file in (path for path in side.rglob("*") if path.is_file()):
            file.chmod(stat.S_IMODE(side.stat().st_mode) & 0o666)
            if durable:
                flush(file)
        if durable:
            flush(side)
        if path.exists():
            os.replace(path, former)
        os.replace(side, path)
        if durable:
            flush(path.parent)
    finally:
        if former.exists() and not path.exists():
            os.replace(former, path)
        shutil.rmtree(side, ignore_errors=True)
        shutil.rmtree(former, ignore_errors=True)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a small UTF-8 file so that it is whole or as it was, after a power cut too; line ends stay as given."""
    with written_aside(path, durable=True, private=private) as side:
        side.write_bytes(text.encode())


def flush(path: Path) -> None:
    """Send a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    return path.with_name(f".writing-{secrets.token_hex(4)}-{path.name}")
