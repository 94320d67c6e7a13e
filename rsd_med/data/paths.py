"""Where the data lie: the one place where a path of a protocol meets the environment."""

import os
import re
from pathlib import Path

from rsd_med.base.errors import DataError

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)\}|(?P<bare>[A-Za-z_][A-Za-z0-9_]*))")


def resolve_root(text: str, base_dir: Path | None = None) -> Path:
    """Turn the path of a protocol into a path on this machine.

    ``${NAME}``, ``$NAME`` and a leading ``~`` are expanded; a relative path is relative to the protocol's folder.
    Whether anything lies there is for the reader to say.

    Parameters
    ----------
    text
        The path as written in the protocol.
    base_dir
        The folder of the protocol; None is the current folder.

    Returns
    -------
    Path
        An absolute path.

    Raises
    ------
    DataError
        If the path is empty or names an environment variable that is not set.
    """
    if not text.strip():
        raise DataError("The data root is empty: write the folder or file that holds the data.")

    def value(match: re.Match[str]) -> str:
        name = match["braced"] or match["bare"]
        found = os.environ.get(name, "")
        if not found:
            raise DataError(
                f"The data root '{text}' needs the environment variable {name}, which is not set: get the data "
                f"(docs/data.md says where), then tell where they lie with `export {name}=/path/to/data`; "
                "or try everything on simulated data first: python -m rsd_med.train quickstart."
            )
        return found

    path = Path(_VARIABLE.sub(value, text.strip())).expanduser()
    if not path.is_absolute():
        path = (base_dir if base_dir is not None else Path()) / path
    return Path(os.path.abspath(path))  # abspath rather than resolve: links stay as the user named them
