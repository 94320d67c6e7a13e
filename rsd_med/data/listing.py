"""The files of a folder: the one place that says which names are looked at."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

from rsd_med.base.errors import DataError


def is_hidden(parts: Iterable[str]) -> bool:
    """Whether a file is none of the user's data: a part of its path begins with a dot, or macOS made it.

    macOS leaves ``.DS_Store``, ``._name`` beside each file ``name``, and folders ``__MACOSX`` in archives.

    Parameters
    ----------
    parts
        The names of the folders below the root, and of the file.
    """
    return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def files_below(root: Path, *, deep: bool = True, named: bool = True) -> list[Path]:
    """Return the files of a folder that are not hidden, in the order of their paths below it.

    Links to files are followed, links to folders are not.

    Parameters
    ----------
    root
        The folder; what its own path is called does not matter.
    deep
        Whether to look into the folders below.
    named
        Whether an error may say which folder it is about: in some archives they are called like the patient.

    Raises
    ------
    DataError
        If a folder may not be read.
    """

    def refuse(error: OSError) -> None:
        folder = Path(error.filename)
        which = f"The folder {folder.name}" if named else "A folder of the data"
        raise DataError(f"{which} cannot be read: give yourself permission to read and enter it, or move it.") from None

    files: list[Path] = []
    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = [name for name in below if deep and not is_hidden([name])]
        try:
            files += [path for name in names if not is_hidden([name]) and (path := Path(folder, name)).is_file()]
        except PermissionError:  # its names may be read, but it may not be entered
            refuse(PermissionError(errno.EACCES, "", folder))
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())
