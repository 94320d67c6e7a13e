"""Files that are whole or not there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """Give a path to write to; it takes the real name when the block ends well, and vanishes when it does not.

    Parameters
    ----------
    path
        Where the file shall be; its folder exists. What stands there is replaced in one step.

    Yields
    ------
    Path
        A hidden neighbour with the same suffix, by which writers choose the format.
    """
    side = path.with_name(f".writing-{os.getpid()}-{path.name}")
    try:
        yield side
        os.replace(side, path)
    finally:
        side.unlink(missing_ok=True)
