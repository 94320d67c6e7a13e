"""CIFAR-10 in its binary archive (the Python archive is a pickle, and nothing is ever unpickled here)."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from rsd_med.base.errors import DataError
from rsd_med.data.paths import resolve_root
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source, SourceSettings

FOLDER = "cifar-10-batches-bin"
FILES = {"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)}
IMAGES_PER_FILE = 10_000
RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes, row by row


class Cifar10Settings(SourceSettings):
    """CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009), binary version."""

    kind: Literal["cifar10"] = "cifar10"
    root: str = Field(
        description="the folder `cifar-10-batches-bin` of the unpacked `cifar-10-binary.tar.gz`, or the folder that "
        "holds it"
    )
    split: Literal["train", "test"] = Field("train", description="50,000 images for training or 10,000 for testing")
    limit: int | None = Field(None, ge=1, description="take at most this many images")

    def build(self, base_dir: Path | None = None, seed: int = 0) -> "Cifar10":
        """Return the source; only the sizes of the files are looked at."""
        del seed
        return Cifar10(self, resolve_root(self.root, base_dir))


class Cifar10(Source):
    """The images of CIFAR-10, float32 (3, 32, 32) in [-1, 1], in the order of the archive.

    Raises
    ------
    DataError
        If a file is missing or has not exactly the size of 10,000 records.
    """

    def __init__(self, settings: Cifar10Settings, root: Path) -> None:
        self.settings = settings
        folder = root / FOLDER if (root / FOLDER).is_dir() else root
        self.paths = [folder / name for name in FILES[settings.split]]
        for path in self.paths:
            if not path.is_file():
                raise DataError(
                    f"CIFAR-10's {path.name} is not in {folder.name}: unpack cifar-10-binary.tar.gz (the binary "
                    "version, not the Python one) and point data.root at it."
                )
            if path.stat().st_size != IMAGES_PER_FILE * RECORD:
                raise DataError(
                    f"CIFAR-10's {path.name} has {path.stat().st_size} bytes instead of {IMAGES_PER_FILE * RECORD}: "
                    "unpack the archive again."
                )

    def __len__(self) -> int:
        """Return the number of images."""
        total = IMAGES_PER_FILE * len(self.paths)
        return min(total, self.settings.limit or total)

    def id(self, index: int) -> str:
        """Return the split and the image's number."""
        return f"cifar10_{self.settings.split}_{self._checked(index):05d}"

    def shape(self, index: int) -> tuple[int, ...]:
        """Return (3, 32, 32)."""
        self._checked(index)
        return (3, 32, 32)

    def __getitem__(self, index: int) -> Picture:
        """Read one image."""
        file, record = divmod(self._checked(index), IMAGES_PER_FILE)
        values = np.fromfile(self.paths[file], dtype=np.uint8, count=RECORD, offset=record * RECORD)
        if values.size != RECORD or values[0] > 9:
            raise DataError(f"CIFAR-10's {self.paths[file].name} is damaged at image {record}: unpack it again.")
        image = torch.from_numpy(values[1:].reshape(3, 32, 32).astype(np.float32)) / 127.5 - 1
        return Picture(id=self.id(index), image=image)

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"Image {index} of a source of {len(self)}.")
        return index
