"""Images in a folder: png, jpg, webp, tif; or sheets that hold many small images as tiles."""

from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.base.notices import say_once
from rsd_med.data.decoding import (
    SUFFIXES,
    UNREAD_SUFFIXES,
    count_pages,
    decode_image,
    image_error,
    image_size,
    is_picture,
    is_tiff,
    to_unit_range,
)
from rsd_med.data.fitting import fit
from rsd_med.data.listing import files_below
from rsd_med.data.paths import resolve_root
from rsd_med.data.pictures import PictureSettings, Side
from rsd_med.data.recent import RecentArrays
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source


class ImageFolderSettings(PictureSettings):
    """Images in a folder and the folders below it; each page of a TIFF file is one."""

    kind: Literal["image_folder"] = "image_folder"
    root: str = Field(description="the folder")
    include: str = Field("*", description="which files to take, as a pattern of their names, for example `train_*.png`")
    tile: tuple[Side, Side] | None = Field(
        None,
        description="(height, width) of the tiles each file is cut into, in rows from the top left; null: a file is "
        "one image",
    )
    crop: Side | None = Field(None, description="keep a central square of this side first")
    pad: Side | None = Field(None, description="place in the middle of a square of this side, on black")

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
        """Return the file's path below the folder, and the number of page or tile."""
        file, page, tile = self.items[index]
        name = self.files[file].relative_to(self.folder).with_suffix("").as_posix()
        return name + ("" if page is None else f"_page{page:03d}") + ("" if tile is None else f"_{tile:04d}")

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (C, H, W), from the header of the file where the settings do not say it."""
        file, page, _ = self.items[index]
        settings = self.settings
        side = settings.pad or settings.resize or settings.crop
        if side is not None:
            height, width = side, side
        else:
            height, width = settings.tile or _size(self.files[file], page)
        return (3 if settings.mode == "rgb" else 1, height, width)

    def stacks(self) -> tuple[range, ...]:
        """Return the pages of each file: the slices of a volume, as far as one knows."""
        starts = [n for n, (_, page, _) in enumerate(self.items) if not page]
        return tuple(range(start, stop) for start, stop in pairwise([*starts, len(self)]))

    def __getitem__(self, index: int) -> Picture:
        """Read one image."""
        file, page, tile = self.items[index]
        path = self.files[file]
        if self.settings.tile is None or tile is None:
            pixels = decode_image(path, path.name, self.settings.mode, page)
        else:
            height, width = self.settings.tile
            sheet = self._sheets.get(file, lambda: decode_image(path, path.name, self.settings.mode))
            row, column = divmod(tile, sheet.shape[1] // width)
            pixels = sheet[row * height : (row + 1) * height, column * width : (column + 1) * width]
        settings = self.settings
        image = to_unit_range(pixels, path.name, settings.white)
        fitted = fit(image, crop=settings.crop, resize=settings.resize, pad=settings.pad, background=-1.0)
        return Picture(id=self.id(index), image=fitted.image.contiguous())

    # --- the folder --------------------------------------------------------------------------------------------

    def _listed(self) -> list[Path]:
        if not self.folder.is_dir():
            raise DataError(f"The image folder {self.folder.name} does not exist: check data.root.")
        files = [path for path in files_below(self.folder) if fnmatchcase(path.name, self.settings.include)]
        pictures = [path for path in files if path.suffix.lower() in SUFFIXES or is_picture(_start(path))]
        unread = [path.name for path in files if path.suffix.lower() in UNREAD_SUFFIXES and path not in pictures]
        if unread:
            say_once(
                f"{self.folder.name}: pictures left out: {len(unread)}, {unread[0]} the first; what is read is png, "
                "jpg, webp and tif."
            )
        if not pictures:
            raise DataError(
                f"The image folder {self.folder.name} holds no png, jpg, webp or tif file whose name matches "
                f"'{self.settings.include}': check data.root and data.include."
            )
        return pictures

    def _listed_items(self) -> list[tuple[int, int | None, int | None]]:
        """Return (file, page, tile), None where there is one alone."""
        items: list[tuple[int, int | None, int | None]] = []
        for file, path in enumerate(self.files):
            if self.settings.tile is not None:
                items.extend((file, None, tile) for tile in range(self._tiles(path, self.settings.tile)))
            elif is_tiff(_start(path)) and (pages := count_pages(path, path.name)) > 1:
                items.extend((file, page, None) for page in range(pages))
            else:
                items.append((file, None, None))
        return items

    def _tiles(self, path: Path, tile: tuple[int, int]) -> int:
        height, width = _size(path)
        if height % tile[0] or width % tile[1]:
            tiles = f"{tile[0]} x {tile[1]} tiles"
            raise image_error(path.name, f"is {height} x {width} pixels, no whole number of {tiles}")
        return (height // tile[0]) * (width // tile[1])


def _size(path: Path, page: int | None = None) -> tuple[int, int]:
    return image_size(path, path.name, page or 0)


def _start(path: Path) -> bytes:
    """Return the first bytes of a file, which say what it is whatever its name."""
    try:
        with path.open("rb") as file:
            return file.read(16)
    except PermissionError as error:
        raise DataError(f"{path.name}: the file may not be read; give yourself read permission.") from error
    except OSError:
        return b""  # reading it will say what is wrong
