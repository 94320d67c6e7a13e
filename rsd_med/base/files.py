"""Files and folders that are whole or not there: the one place where something is written under its final name."""

import fcntl
import glob
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    (side, handle), former = _held_folder(path), _beside(path)
    try:
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
        os.close(handle)


def remove_abandoned(path: Path) -> None:
    """Remove what killed processes have left of a folder that `folder_written_aside` was to make.

    Folders that are being written are held by their processes and stay; so do all on file systems without locks.
    """
    for side in path.parent.glob(f".writing-????????-{glob.escape(path.name)}"):
        with suppress(OSError):
            handle = os.open(side, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(side)
            finally:
                os.close(handle)


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


def _held_folder(path: Path) -> tuple[Path, int]:
    """Make a hidden neighbour, and hold it until the handle is closed or the process ends, however it ends."""
    while True:
        side = _beside(path)
        side.mkdir()
        handle = os.open(side, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if side.exists():
            return side, handle
        os.close(handle)  # taken for abandoned in between
