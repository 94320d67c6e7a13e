"""Simulate multi-coil k-space from images: ``python -m rsd_med.simulate IMAGES --out DIR``."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import program, run_command
from rsd_med.base.errors import DataError, ProtocolError

if TYPE_CHECKING:
    import torch

    from rsd_med.data.simulation import Scanner
    from rsd_med.data.source import Source


PATTERNS = (
    "random",
    "equispaced",
    "equispaced_fraction",
    "equispaced_grid",
    "variable_density",
    "partial_fourier",
)


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.simulate"),
        description="Turn magnitude images into multi-coil k-space in the HDF5 layout of the fastMRI data set: a "
        "random smooth phase, simulated coils, noise and undersampling. The files carry the true coil maps and, where "
        "undersampled, nothing that was not sampled.",
    )
    parser.add_argument(
        "images", type=Path, metavar="IMAGES", help=".npy or .npz array, NIfTI file or folder, image folder"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the .h5 files go")
    scan = parser.add_argument_group("scan")
    scan.add_argument("--coils", type=_whole(1, 128), default=4, help="receive coils (default %(default)s)")
    scan.add_argument("--acceleration", type=_number(1), default=4.0, help="one in R columns is sampled (default 4)")
    scan.add_argument(
        "--acs-lines", type=_whole(0), metavar="N", help="central columns always sampled (default 0.32 / R of them all)"
    )
    scan.add_argument(
        "--pattern",
        choices=PATTERNS,
        default="random",
        help="how columns outside the centre are drawn (default random)",
    )
    scan.add_argument("--mask-per-slice", action="store_true", help="a mask for every slice, not one for the file")
    scan.add_argument("--fully-sampled", action="store_true", help="sample everything; the files hold a reference then")
    scan.add_argument(
        "--with-reference", action="store_true", help="store the fully sampled reconstruction although undersampled"
    )
    scan.add_argument(
        "--sigma",
        type=_number(0),
        default=0.0,
        help="noise in k-space per real component, where white is 1 (default 0)",
    )
    scan.add_argument(
        "--phase", choices=("smooth", "none"), default="smooth", help="phase of the image (default smooth)"
    )
    scan.add_argument(
        "--varied",
        action="store_true",
        help="scans differ as a hospital's do: noise of 0.1 to 1 times --sigma, phase of unlike strength with steep "
        "places, shading",
    )
    scan.add_argument("--seed", type=_whole(0), default=0, help="everything random derives from it (default 0)")
    images = parser.add_argument_group("images")
    images.add_argument("--size", type=_whole(8, 4096), metavar="N", help="resample to N x N")
    images.add_argument("--limit", type=_whole(1), metavar="N", help="use the first N images only")
    images.add_argument("--slices", type=_whole(1), metavar="N", help="of NIfTI volumes, the central N slices each")
    images.add_argument("--key", metavar="NAME", help="which array of an .npz (default 'images', or the only one)")
    images.add_argument(
        "--range", type=float, nargs=2, metavar=("BLACK", "WHITE"), help="values that mean black and white in an array"
    )
    images.add_argument("--group-key", metavar="NAME", help="array of an .npz that says which volume an image is of")
    files = parser.add_argument_group("files")
    files.add_argument(
        "--slices-per-file", type=_whole(1, 4096), default=16, metavar="N", help="at most (default %(default)s)"
    )
    files.add_argument(
        "--split-volumes",
        type=_whole(1),
        metavar="N",
        help="put N volumes, drawn at random, in DIR/val, others in DIR/train",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and say what was written.

    Raises
    ------
    ProtocolError
        If the options do not go together, or the folder holds scans already.
    DataError
        If the images cannot be read.
    """
    arguments = parser().parse_args(argv)
    if arguments.fully_sampled and (arguments.acs_lines is not None or arguments.mask_per_slice):
        raise ProtocolError("--fully-sampled leaves no mask: drop --acs-lines and --mask-per-slice, or drop it.")

    from tqdm import tqdm

    from rsd_med.base.randomness import generator_for
    from rsd_med.data.simulation import Scanner, write_scans

    source, volumes = _volumes(arguments)
    held_out = _held_out(arguments, len(volumes), generator_for(arguments.seed, "simulate", "split"))
    scanner = Scanner(
        coils=arguments.coils,
        sigma=arguments.sigma,
        acceleration=None if arguments.fully_sampled else arguments.acceleration,
        acs_lines=arguments.acs_lines,
        pattern=arguments.pattern,
        mask_per_slice=arguments.mask_per_slice,
        phase=arguments.phase,
        varied=arguments.varied,
        with_reference=arguments.with_reference,
        seed=arguments.seed,
    )
    _check_out(arguments.out)
    files = slices = 0
    with tqdm(total=sum(map(len, volumes)), unit="image", disable=None) as progress:
        for number, indices in enumerate(volumes):
            folder = arguments.out
            if held_out is not None:
                folder = folder / ("val" if number in held_out else "train")
            for images, spacing in _files(source, indices, arguments.slices_per_file):
                folder.mkdir(parents=True, exist_ok=True)
                # Numbers, for the images' own names may be patients' names.
                write_scans(folder / f"scan_{files:05d}.h5", images, scanner, spacing)
                files += 1
                slices += len(images)
            progress.update(len(indices))
    if not files:
        raise DataError(f"{arguments.images.name}: every image is black, so there is nothing to scan.")
    print(_summary(arguments, scanner, files, slices, sum(map(len, volumes)) - slices))
    return 0


def _whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from ``low`` to ``high``."""

    def convert(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"must be {f'{low} to {high}' if high else f'at least {low}'}, not {text}")
        return value

    convert.__name__ = "whole number"
    return convert


def _number(low: float) -> Callable[[str], float]:
    """Return an argparse type for finite numbers from ``low``."""

    def convert(text: str) -> float:
        value = float(text)
        if not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be a number of at least {low:g}, not {text}")
        return value

    convert.__name__ = "number"
    return convert


def _volumes(arguments: argparse.Namespace) -> "tuple[Source, list[list[int]]]":
    """Return the images and, for each volume, their indices."""
    path: Path = arguments.images
    root = str(path.absolute())
    if not path.exists():
        raise DataError(f"IMAGES: {path} does not exist; check the path.")
    if path.suffix.lower() in (".npy", ".npz"):
        return _array_volumes(arguments, root)
    if arguments.key or arguments.range or arguments.group_key:
        raise ProtocolError("--key, --range and --group-key belong to .npy and .npz arrays.")
    from rsd_med.data.nifti import NiftiSettings, holds_nifti

    if holds_nifti(path):
        source = NiftiSettings(root=root, slices=arguments.slices, resize=arguments.size).build()
        by_volume: dict[int, list[int]] = {}
        for index, (volume, *_) in enumerate(source.items[: arguments.limit]):
            by_volume.setdefault(volume, []).append(index)
        return source, list(by_volume.values())
    if arguments.slices:
        raise ProtocolError("--slices belongs to NIfTI volumes.")
    if not path.is_dir():
        raise DataError(f"{path.name}: no .npy, .npz or NIfTI file and no folder of images; check the path.")
    from rsd_med.data.image_folder import ImageFolderSettings

    folder = ImageFolderSettings(root=root, mode="gray", resize=arguments.size, limit=arguments.limit).build()
    return folder, _chunks(list(range(len(folder))), arguments.slices_per_file)


def _array_volumes(arguments: argparse.Namespace, root: str) -> "tuple[Source, list[list[int]]]":
    from rsd_med.data.arrays import ArraysSettings

    if arguments.slices:
        raise ProtocolError("--slices belongs to NIfTI volumes.")
    limits = None if arguments.range is None else (arguments.range[0], arguments.range[1])
    source = ArraysSettings(
        root=root, key=arguments.key, range=limits, resize=arguments.size, limit=arguments.limit
    ).build()
    indices = list(range(len(source)))
    if arguments.group_key is None:
        return source, _chunks(indices, arguments.slices_per_file)
    by_volume: dict[object, list[int]] = {}
    for index, group in zip(indices, _groups(arguments.images, arguments.group_key, len(source)), strict=True):
        by_volume.setdefault(group, []).append(index)
    return source, list(by_volume.values())


def _groups(path: Path, key: str, count: int) -> list[object]:
    """Read which volume each of the first ``count`` images is of."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as archive:
            groups = archive[key]
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise DataError(f"{path.name} has no array '{key}' of numbers or words; check --group-key.") from error
    if groups.ndim != 1 or len(groups) < count:
        raise DataError(f"{path.name}: '{key}' has shape {groups.shape}, not one entry per image; check --group-key.")
    return list(groups[:count].tolist())


def _chunks(indices: list[int], length: int) -> list[list[int]]:
    return [indices[first : first + length] for first in range(0, len(indices), length)]


def _held_out(arguments: argparse.Namespace, count: int, generator: "torch.Generator") -> set[int] | None:
    if arguments.split_volumes is None:
        return None
    if arguments.split_volumes >= count:
        raise ProtocolError(f"--split-volumes: there are {count} volumes, so at most {count - 1} can be held out.")
    import torch

    return set(torch.randperm(count, generator=generator)[: arguments.split_volumes].tolist())


def _check_out(folder: Path) -> None:
    """Refuse a folder that holds scans: two simulations must not become one data set."""
    if folder.exists() and not folder.is_dir():
        raise ProtocolError(f"--out: {folder.name} is a file; name a folder.")
    if any(folder.glob("*.h5")) or any(folder.glob("*/*.h5")):
        raise ProtocolError(f"--out: the folder {folder.name} holds .h5 files already; empty it or name another.")


def _files(
    source: "Source", indices: list[int], length: int
) -> "Iterator[tuple[list[torch.Tensor], tuple[float, float]]]":
    """Yield the images of each file and their pixel spacing: of one size, not black, at most ``length``."""
    from rsd_med.data.scan import Picture
    from rsd_med.data.simulation import magnitude

    images: list[torch.Tensor] = []
    spacing = (1.0, 1.0)
    for index in indices:
        picture = source[index]
        if not isinstance(picture, Picture):
            raise DataError(f"{source.id(index)} is no image.")
        image = magnitude(picture)
        if not bool(image.any()):
            continue  # nothing to scan: such a slice would have no scale
        if images and (len(images) == length or images[0].shape != image.shape):
            yield images, spacing
            images = []
        known = picture.geometry.spacing_mm
        spacing = (1.0, 1.0) if known is None else (known[0], known[1])
        images.append(image)
    if images:
        yield images, spacing


def _summary(arguments: argparse.Namespace, scanner: "Scanner", files: int, slices: int, black: int) -> str:
    left_out = f"; {black} black images left out" if black else ""
    how = "fully sampled" if scanner.acceleration is None else f"{scanner.acceleration:g}-fold undersampled"
    return f"Wrote {slices} slices, {how}, {scanner.coils} coils, in {files} files to {arguments.out}{left_out}."


if __name__ == "__main__":
    raise SystemExit(run_command(main))
