"""One picture of the viewer: which artefact, in which unit, under which window."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from apps.inspector.viewer.orientation import planes

Kind = Literal["grey", "uncertainty", "difference"]

NOTES = {
    "grey": "",
    "uncertainty": "Standard deviation over the samples; not a probability of error.",
    "difference": "Signed difference; mid-grey is none.",
}


@dataclass(frozen=True)
class Pane:
    """A volume (z, y, x) and how it is to be shown.

    Attributes
    ----------
    artefact
        Opaque id of the array; the route that serves its slices checks who asks.
    title
        What a person calls it.
    shape
        (z, y, x); a single image has z = 1.
    unit
        Of the values, for the colour bar; empty for arbitrary units.
    window
        The values shown black and white at first.
    affine
        Steps along (y, x, slice) in millimetres, RAS+, float64 (4, 4); None when it is not known or not trusted.
    spacing
        Millimetres between neighbours along (z, y, x); None when not known: lengths are then in pixels.
    kind
        ``grey``, ``uncertainty`` (drawn in viridis, never a rainbow) or ``difference`` (grey about zero).
    note
        One sentence below the picture; by default what its kind means.
    """

    artefact: str
    title: str
    shape: tuple[int, int, int]
    unit: str = ""
    window: tuple[float, float] = (0.0, 1.0)
    affine: np.ndarray | None = field(default=None, compare=False)
    spacing: tuple[float, float, float] | None = None
    kind: Kind = "grey"
    note: str | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a pane shows a volume (z, y, x), not {self.shape}")
        low, high = self.window
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"a window rises between two finite numbers, not {self.window}")

    def description(self, source: str) -> dict[str, Any]:
        """Return what the page needs to know, as plain values.

        Parameters
        ----------
        source
            Address that serves the slices: ``{source}/{axis}/{number}``.
        """
        usable = self.spacing is not None and all(np.isfinite(step) and step > 0 for step in self.spacing)
        return {
            "title": self.title,
            "source": source,
            "shape": list(self.shape),
            "unit": self.unit,
            "window": [float(value) for value in self.window],
            "spacing": [float(step) for step in self.spacing] if usable and self.spacing else None,
            "kind": self.kind,
            "note": NOTES[self.kind] if self.note is None else self.note,
            "planes": [
                {
                    "name": plane.name,
                    "axis": plane.axis,
                    "transpose": plane.transpose,
                    "flipDown": plane.flip_down,
                    "flipAcross": plane.flip_across,
                    "letters": plane.letters,
                }
                for plane in planes(self.affine)
            ],
        }
