"""The protocols that come with the program, each known by its name."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]

PROTOCOLS = PACKAGE / "protocols" if (PACKAGE / "protocols").is_dir() else PACKAGE.parent / "protocols"
"""Their folder: below the package where it is installed, beside it in a checkout."""


def packaged_names() -> list[str]:
    """Return the names, such as ``quickstart``, in order."""
    return sorted(path.stem for path in PROTOCOLS.glob("*.yaml"))


def find_protocol(given: Path) -> tuple[Path, Path]:
    """Find a protocol by its path, or by its name alone where no such file exists.

    Parameters
    ----------
    given
        A path, or the name of a packaged protocol with or without ``.yaml``.

    Returns
    -------
    tuple of Path
        The file, and the folder that its relative paths start from: its own, or the current one for a packaged
        protocol and for a pipe. Whether the file exists is for its reader to say.
    """
    name = given.name.removesuffix(".yaml")
    if given.parent == Path() and not given.exists() and name in packaged_names():
        return PROTOCOLS / f"{name}.yaml", Path.cwd()
    piped = given.exists() and not given.is_file() and not given.is_dir()
    return given, Path.cwd() if piped else given.resolve().parent
