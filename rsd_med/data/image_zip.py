"""Images in a zip archive, as EDM's data sets are kept: FFHQ, CelebA-HQ, AFHQ at 64 × 64."""

import io
import os
import stat
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.data.decoding import SUFFIXES, decode_image, image_size, to_unit_range
from rsd_med.data.fitting import fit
from rsd_med.data.listing import is_hidden
from rsd_med.data.paths import resolve_root
from rsd_med.data.pictures import PictureSettings
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source

MAX_BYTES = 32 * 2**20
"""Largest entry that is unpacked: a few bytes of an archive can stand for any number."""

PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class ImageZipSettings(PictureSettings):
    """Images of one size in a zip archive; a ``dataset.json`` beside them, with labels, is not needed and not read."""

    kind: Literal["image_zip"] = "image_zip"
    root: str = Field(description="the archive")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "ImageZip":
        """Return the source; the archive's directory and the size of its first image are read."""
        del seed
        return ImageZip(self, resolve_root(self.root, base_dir))


class ImageZip(Source):
    """The images of an archive in the order of their names. Nothing is unpacked to disk.

    Raises
    ------
    DataError
        If there is no such archive, no image in it, or an entry that no honest archive of images has: encrypted, a
        link, with a name that leads elsewhere, of a size that no image needs.
    """

    def __init__(self, settings: ImageZipSettings, path: Path) -> None:
        self.settings = settings
        self.path = path
        self._start_closed()
        self.names = self._listed()[: settings.limit]
        first = self.names[0]
        self.size = image_size(io.BytesIO(self._contents(first)), self._called(first))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.names)

    def id(self, index: int) -> str:
        """Return the entry's name without its suffix."""
        return str(PurePosixPath(self.names[index]).with_suffix(""))

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (C, H, W), the same for all."""
        self.names[index]  # IndexError past the end
        height, width = (self.settings.resize,) * 2 if self.settings.resize else self.size
        return (3 if self.settings.mode == "rgb" else 1, height, width)

    def __getitem__(self, index: int) -> Picture:
        """Read one image."""
        name = self.names[index]
        pixels = decode_image(io.BytesIO(self._contents(name)), self._called(name), self.settings.mode)
        if pixels.shape[:2] != self.size:
            raise self._error(
                f"{name} is {pixels.shape[0]} x {pixels.shape[1]} pixels and the first image {self.size[0]} x "
                f"{self.size[1]}: put images of one size into an archive"
            )
        fitted = fit(to_unit_range(pixels, self._called(name), self.settings.white), resize=self.settings.resize)
        return Picture(id=self.id(index), image=fitted.image.contiguous())

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open archive behind."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start with the archive closed."""
        self.__dict__.update(state)
        self._start_closed()

    # --- the archive -------------------------------------------------------------------------------------------

    def _start_closed(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._archive: zipfile.ZipFile | None = None

    def _opened(self) -> zipfile.ZipFile:
        if self._process != os.getpid():
            self._start_closed()  # forked: the place in the file would be shared
        with self._lock:
            if self._archive is None:
                try:
                    self._archive = zipfile.ZipFile(self.path)
                except FileNotFoundError as problem:
                    raise DataError(f"The archive {self.path.name} does not exist: check data.root.") from problem
                except PermissionError as problem:
                    raise self._error("give yourself permission to read it") from problem
                except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as problem:
                    raise self._error("it is no zip archive, or a damaged one: copy it again") from problem
            return self._archive

    def _listed(self) -> list[str]:
        names = []
        for entry in self._opened().infolist():
            place = PurePosixPath(entry.filename)
            hidden = is_hidden(part for part in place.parts if part != "..")
            if entry.is_dir() or hidden or place.suffix.lower() not in SUFFIXES:
                continue
            self._require_plain(entry)
            names.append(entry.filename)
        if not names:
            raise self._error("it holds no png, jpg, webp or tif image: check data.root")
        if len(set(names)) < len(names):
            raise self._error("two of its entries have the same name: pack it again")
        return sorted(names)

    def _require_plain(self, entry: zipfile.ZipInfo) -> None:
        """Refuse an entry that is no plain image."""
        name = entry.filename
        if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
            raise self._error(f"the name of an entry, {name!r}, leads out of the archive: pack it again")
        if entry.flag_bits & 0x1:
            raise self._error(f"{name} is encrypted: pack it without a password")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise self._error(f"{name} is a link: pack the images themselves")
        if entry.compress_type not in PACKINGS:
            raise self._error(f"{name} is packed in an unusual way: store or deflate it")
        if entry.file_size > MAX_BYTES:
            raise self._error(f"{name} declares {entry.file_size:,} bytes, more than an image is read of")

    def _contents(self, name: str) -> bytes:
        try:
            with self._opened().open(name) as file:
                contents = file.read(MAX_BYTES + 1)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as problem:
            raise self._error(f"{name} is damaged: copy the archive again") from problem
        if len(contents) > MAX_BYTES:
            raise self._error(f"{name} unpacks to more than it declares: copy the archive again")
        return contents

    def _called(self, name: str) -> str:
        return f"{name} in {self.path.name}"

    def _error(self, problem: str) -> DataError:
        return DataError(f"The archive {self.path.name} cannot be read: {problem}.")
