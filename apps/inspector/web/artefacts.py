"""What a session shows and gives away, as plain facts: volumes for the viewer, pictures in the page, files to keep."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["grey", "uncertainty", "difference"]


@dataclass(frozen=True)
class Pane:
    """A volume as the viewer shows it.

    Attributes
    ----------
    artefact
        Opaque id of the volume.
    title
        What is shown, in words.
    unit
        Unit of the values, as the reader should see it.
    window
        (black, white) in that unit.
    affine
        Voxel indices (x, y, z) to millimetres in RAS+, four rows of four; None when it is unknown or not to be
        trusted, and then no letters are shown.
    spacing
        Millimetres (z, y, x); None when unknown.
    kind
        What the values mean, which decides the colours.
    """

    artefact: str
    title: str
    unit: str
    window: tuple[float, float]
    affine: tuple[tuple[float, ...], ...] | None = None
    spacing: tuple[float, ...] | None = None
    kind: Kind = "grey"


@dataclass(frozen=True)
class Artefact:
    """Something a session owns.

    Attributes
    ----------
    id
        Opaque.
    path
        File in the session's folder: a float32 ``.npy`` of shape (z, y, x) for volumes.
    pane
        How a volume is shown; None for files.
    name
        What the browser calls the file when it is kept; never made of anything a user sent.
    """

    id: str
    path: Path
    pane: Pane | None = None
    name: str = "file"


@dataclass(frozen=True)
class Item:
    """What was read of an upload: one scan or picture.

    Attributes
    ----------
    path
        Its arrays, in the session's folder.
    facts
        What the page says of it, in plain data.
    """

    path: Path
    facts: dict[str, Any]
