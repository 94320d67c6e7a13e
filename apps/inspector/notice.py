"""The notice that is on every page and in every file that leaves the app."""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

NOTICE = "Research use only. Not for diagnosis."


def burn_in(levels: np.ndarray, line: str = NOTICE) -> "Image.Image":
    """Put the notice under a picture, without covering any of it.

    Parameters
    ----------
    levels
        uint8, shape (y, x).
    line
        What to write.

    Returns
    -------
    PIL.Image.Image
        The picture, at least as wide as the text, with a black strip and white letters below.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=11)
    left, top, right, bottom = font.getbbox(line)
    strip = int(bottom - top) + 8
    height, width = levels.shape
    page = Image.new("L", (max(width, int(right - left) + 8), height + strip), 0)
    page.paste(Image.fromarray(levels), (0, 0))
    ImageDraw.Draw(page).text((4 - left, height + 4 - top), line, fill=255, font=font)
    return page
