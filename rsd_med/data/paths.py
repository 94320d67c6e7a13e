"""Where the data lie: the one place where a path of a protocol meets the environment."""

import os
import re
from pathlib import Path

from rsd_med.base.errors import DataError

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def resolve_root(text: str, base_dir: Path | None = None) -> Path:
    """Turn ``data.root``, as written in the protocol, into a path on this machine; as `resolve_path`."""
    advice = "docs/data.md says how to get the data, and python -m rsd_med.train quickstart needs none"
    return resolve_path(text, base_dir, "data root", advice)


def resolve_path(text: str, base_dir: Path | None, what: str, advice: str) -> Path:
    """Turn the path of a protocol into a path on this machine.

    ``${NAME}``, ``$NAME`` and a leading ``~`` are expanded; a relative path is relative to the protocol's folder.
    Whether anything lies there is for the reader to say.

    Parameters
    ----------
    text
        The path as written in the protocol.
    base_dir
        The folder of the protocol; None is the current folder.
    what
        What lies there, in a word or two, for errors.
    advice
        Where to get it, the end of a sentence.

    Returns
    -------
    Path
        An absolute path.

    Raises
    ------
    DataError
        If the path is empty, names an environment variable that is not set, or leads through a folder that may not be
        entered.
    """
    if not text.strip():
        raise DataError(f"The {what} is empty: write where it lies; {advice}.")

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        expanded = os.environ.get(name, "")
        if not expanded:
            raise DataError(
                f"The {what} '{text}' needs the environment variable {name}, which is not set: tell where it lies with "
                f"`export {name}=/path/to/it`; {advice}."
            )
        return expanded

    path = Path(_VARIABLE.sub(value, text.strip())).expanduser()
    if not path.is_absolute():
        path = (base_dir if base_dir is not None else Path()) / path
    path = Path(os.path.abspath(path))  # abspath rather than resolve: links stay as the user named them
    try:
        path.stat()
    except PermissionError as error:
        raise DataError(
            f"The {what} '{text}' lies in a folder that may not be entered: give yourself permission, or copy the data."
        ) from error
    except OSError:
        pass  # reading will say what is wrong
    return path


def file_identity(path: Path) -> tuple[str, int, int] | None:
    """Return a file's path, size and time of its last change in nanoseconds; None where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None  # reading will say what is wrong
    return str(path), status.st_size, status.st_mtime_ns
