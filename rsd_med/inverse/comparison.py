"""What a reconstructed slice is compared with, and over which part."""

from dataclasses import dataclass

from torch import Tensor

from rsd_med.base.notices import say_once
from rsd_med.data.source import Source, Target
from rsd_med.inverse.scans import Prepared
from rsd_med.metrics.image_quality import reconstructed_part


@dataclass(frozen=True)
class Comparison:
    """The reference of a slice.

    Attributes
    ----------
    reference
        Magnitude (y, x); None where there is none.
    part
        (y, x) of the reconstructed matrix, about the centre of the image.
    square
        Whether figures are over the square of the part's width alone, as in fastMRI's evaluation.
    peak
        Data range of the figures; None is the peak of the references.
    name
        Where the reference comes from; None without one.
    """

    reference: Tensor | None
    part: tuple[int, int]
    square: bool = False
    peak: float | None = None
    name: str | None = None

    def cut(self, image: Tensor) -> Tensor:
        """Return the part of an image, or of the reference, that figures are over."""
        image = reconstructed_part(image, self.part)
        side = self.part[1]
        return reconstructed_part(image, (side, side)) if self.square and side <= self.part[0] else image


def compared_with(prepared: Prepared, target: Target | None) -> Comparison:
    """Return the comparison of a slice: with the file's own target, else with its own full k-space where it is known.

    fastMRI's evaluation (``fastmri/evaluate.py``, version 0.3.0) crops the target and the reconstruction to the square
    of the target's width.
    """
    if target is not None:
        part = target.image.shape[0], target.image.shape[1]
        return Comparison(target.image, part, True, target.peak, f"{target.name} of the file")
    part = prepared.reconstructed or prepared.measurement.size
    if prepared.reference is None:
        return Comparison(None, part)
    return Comparison(prepared.reference, part, name="root sum of squares of the full k-space")


def target_of(source: Source, item: int, prepared: Prepared) -> Target | None:
    """Return the file's own target, where the image has the matrix that it is of."""
    if source.shape(item)[-2:] != prepared.measurement.size:
        return None
    target = source.target(item)
    if target is None or all(a <= b for a, b in zip(target.image.shape, prepared.measurement.size, strict=True)):
        return target
    say_once(
        f"{source.file_name(item)}: '{target.name}' is {tuple(target.image.shape)}, larger than the image; figures are "
        "against the root sum of squares of k-space."
    )
    return None
