"""What the readers of compressed images share in a protocol."""

from typing import Annotated

from pydantic import Field

from rsd_med.data.decoding import Mode
from rsd_med.data.source import SourceSettings

Side = Annotated[int, Field(ge=1, le=8192)]


class PictureSettings(SourceSettings):
    """Compressed images: which channels, which white, what size, how many."""

    mode: Mode = Field(
        "rgb",
        description='"rgb" (three channels) or "gray" (one). 8 bits are mapped to [-1, 1]; so are the 16 of grey '
        "images",
    )
    white: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="the value that becomes 1, for files that do not use all their bits: 4095 for 12 bits in 16; null: "
        "the largest of the file's type",
    )
    resize: Side | None = Field(
        None,
        description="resample to a square of this side (antialiased); an image that is not square is cut to its "
        "centre first",
    )
    limit: int | None = Field(None, ge=1, description="take at most this many images, in the order of their names")
