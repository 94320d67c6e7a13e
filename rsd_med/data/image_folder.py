"""Images in a folder: png, jpg, webp, tif; or sheets that hold many small images as tiles."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.data.decoding import SUFFIXES, Mode, decode_image, image_error, image_size, to_unit_range
from rsd_med.data.fitting import fit
from rsd_med.data.listing import files_below
from rsd_med.data.paths import resolve_root
from rsd_med.data.recent import RecentArrays
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source, SourceSettings

Side = Annotated[int, Field(ge=1, le=8192)]


class ImageFolderSettings(SourceSettings):
    """Images in a folder and the folders below it."""

    kind: Literal["image_folder"] = "image_folder"
    root: str = Field(description="the folder")
    mode: Mode = Field(
        "rgb",
        description='"rgb" (three channels) or "gray" (one). 8 bits are mapped to [-1, 1]; so are the 16 of grey '
        "images",
    )
    include: str = Field("*", description="which files to take, as a pattern of their names, for example `train_*.png`")
    tile: tuple[Side, Side] | None = Field(
        None,
        description="(height, width) of the tiles each file is cut into, in rows from the top left; null: a file is "
        "one image",
    )
    crop: Side | None = Field(None, description="keep a central square of this side first")
    resize: Side | None = Field(
        None,
        description="resample to a square of this side (antialiased); an image that is not square is cut to its "
        "centre first",
    )
    pad: Side | None = Field(None, description="place in the middle of a square of this side, on black")
    limit: int | None = Field(None, ge=1, description="take at most this many images, in the order of their names")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "ImageFolder":
        """Return the source; the folder is listed, and of sheets of tiles the sizes are read."""
        del seed
        return ImageFolder(self, resolve_root(self.root, base_dir))


class ImageFolder(Source):
    """The images of a folder in the order of their names.

    Raises
    ------
    DataError
        If there is no such folder or no image in it, or a sheet is no whole number of tiles.
    """

    def __init__(self, settings: ImageFolderSettings, folder: Path) -> None:
        self.settings = settings
        self.folder = folder
        self.files = self._listed()
        self.items = self._listed_items()[: settings.limit]
        self._sheets = RecentArrays()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.items)

    def id(self, index: int) -> str:
        """Return the file's path below the folder, and the tile's number."""
        file, tile = self.items[index]
        name = self.files[file].relative_to(self.folder).with_suffix("").as_posix()
        return name if tile is None else f"{name}_{tile:04d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (C, H, W), from the header of the file where the settings do not say it."""
        file, _ = self.items[index]
        settings = self.settings
        side = settings.pad or settings.resize or settings.crop
        if side is not None:
            height, width = side, side
        else:
            height, width = settings.tile or _size(self.files[file])
        return (3 if settings.mode == "rgb" else 1, height, width)

    def __getitem__(self, index: int) -> Picture:
        """Read one image."""
        file, tile = self.items[index]
        path = self.files[file]
        if self.settings.tile is None or tile is None:
            pixels = decode_image(path, path.name, self.settings.mode)
        else:
            height, width = self.settings.tile
            sheet = self._sheets.get(file, lambda: decode_image(path, path.name, self.settings.mode))
            row, column = divmod(tile, sheet.shape[1] // width)
            pixels = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        settings = self.settings
        fitted = fit(
            to_unit_range(pixels), crop=settings.crop, resize=settings.resize, pad=settings.pad, background=-1.0
        )
        return Picture(id=self.id(index), image=fitted.image.contiguous())

    # --- the folder --------------------------------------------------------------------------------------------

    def _listed(self) -> list[Path]:
        if not self.folder.is_dir():
            raise DataError(f"The image folder {self.folder.name} does not exist: check data.root.")
        found = [
            path
            for path in files_below(self.folder)
            if fnmatchcase(path.name, self.settings.include) and path.suffix.lower() in SUFFIXES
        ]
        if not found:
            raise DataError(
                f"The image folder {self.folder.name} holds no png, jpg, webp or tif file whose name matches "
                f"'{self.settings.include}': check data.root and data.include."
            )
        return found

    def _listed_items(self) -> list[tuple[int, int | None]]:
        if self.settings.tile is None:
            return [(file, None) for file in range(len(self.files))]
        tile_height, tile_width = self.settings.tile
        items: list[tuple[int, int | None]] = []
        for file, path in enumerate(self.files):
            height, width = _size(path)
            if height % tile_height or width % tile_width:
                tiles = f"{tile_height} x {tile_width} tiles"
                raise image_error(path.name, f"is {height} x {width} pixels, no whole number of {tiles}")
            items.extend((file, tile) for tile in range((height // tile_height) * (width // tile_width)))
        return items


def _size(path: Path) -> tuple[int, int]:
    return image_size(path, path.name)
