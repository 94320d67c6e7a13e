"""How bright the air is: images of a body on a black ground should have one too, and noise is seen there first."""

from dataclasses import dataclass

from torch import Tensor

from rsd_med.metrics.views import magnitude_view

DARK = 0.1
"""Share of the peak below which a pixel may be air: well above the noise of a usable scan, and below tissue."""

ALIKE = 0.95
"""A place is air if so many of the reference images are dark there."""

LEAST_SHARE = 0.02
"""With fewer places than this share of the image, there is no air to speak of."""


@dataclass(frozen=True)
class Air:
    """The places where the images of a reference show air.

    Attributes
    ----------
    region
        Bool ``(y, x)``.
    peak
        Median over the reference images of their brightest pixel: what brightness is measured in.
    """

    region: Tensor
    peak: float

    def level(self, images: Tensor) -> float:
        """Return how bright images are there: the mean over the region, the median over images.

        The median leaves out single images whose body reaches into the region; grain and ghosts are in all of them.

        Parameters
        ----------
        images
            ``(N, channels, y, x)`` of the reference's size.

        Returns
        -------
        float
            As a share of the peak.
        """
        return float(brightness(images)[:, self.region].mean(1).median() / self.peak)


def find_air(reference: Tensor) -> Air | None:
    """Find the places where nearly all images of a reference are dark.

    A place is asked for in all images alike, so that samples need no mask of their own: one that is drawn from a
    sample would leave out just the air that is too bright.

    Parameters
    ----------
    reference
        ``(M, channels, y, x)``: (real, imaginary) in two channels, or natural images in [-1, 1], black at -1.

    Returns
    -------
    Air or None
        None where there is no air in one place: photographs, bodies that fill the image or lie anywhere in it.
    """
    bright = brightness(reference)
    peak = float(bright.flatten(1).amax(1).median())
    region = (bright < DARK * peak).float().mean(0) >= ALIKE
    return Air(region, peak) if float(region.float().mean()) >= LEAST_SHARE else None


def brightness(images: Tensor) -> Tensor:
    """Return the magnitude of complex images, or the distance of natural ones from black, ``(N, y, x)``."""
    return ((magnitude_view(images) + 1) / 2).abs().mean(1)
