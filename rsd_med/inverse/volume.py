"""A volume, slice by slice: reconstruct, write, measure. Memory holds one slice, however many there are."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.progress import Progress, part_of, silent
from rsd_med.base.randomness import generator_for
from rsd_med.data.scan import Geometry, Scan
from rsd_med.data.source import Source
from rsd_med.data.writing.nifti import NiftiWriter
from rsd_med.data.writing.png import write_png
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.causes import likely_cause
from rsd_med.inverse.comparison import Comparison, compared_with, target_of
from rsd_med.inverse.magnitudes import magnitudes
from rsd_med.inverse.scans import Prepared
from rsd_med.inverse.uncertainty import coverage, rank_correlation
from rsd_med.inverse.volume_files import VolumeFile
from rsd_med.metrics.image_quality import volume_quality

WINDOW = 1.25
"""White, in multiples of the largest scale of a volume: the display window of the whole package."""

MAP_FIGURES = ("kind", "sets", "second_eigenvalue", "outside", "residual")
"""What is told of the coil maps of every slice."""

HEAD = 0.1
"""Pixels brighter than this part of the reference's peak count as inside."""


@dataclass
class VolumeResult:
    """What is told about one volume besides its images.

    Attributes
    ----------
    slices
        How many.
    figures
        The content of metrics.json for this volume.
    unexplained
        Numbers of the slices whose result does not explain the measurement.
    cause
        The likeliest cause for the first of them, and what to do.
    """

    slices: int
    figures: dict[str, Any]
    unexplained: list[int] = field(default_factory=list)
    cause: str | None = None


def reconstruct_volume(
    source: Source,
    items: Sequence[int],
    prepare: Callable[[Scan], Prepared],
    solver: Solver,
    folder: Path,
    *,
    seed: int = 0,
    dicom: bool = False,
    files: Sequence[VolumeFile] = (),
    description: str = "rsd_med",
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
) -> VolumeResult:
    """Reconstruct the slices of one volume and write all results to a folder.

    ``mean.nii.gz``, and where the method gives an uncertainty ``std.nii.gz``, ``lower.nii.gz`` and ``upper.nii.gz``:
    magnitudes in the units of the file, in the shading of its coils. ``support.nii.gz``: how many maps of a coil each
    pixel has; without one, it is dark.
    ``png/slice_000.png`` and ``png/uncertainty_000.png``; ``dicom/`` on request.

    Parameters
    ----------
    source, items
        Where the slices come from, and which, in their order.
    prepare
        From a scan to its measurement.
    solver
        The method.
    folder
        Created where it is missing.
    seed
        Every slice has its own generator, derived from this and the slice's id.
    dicom
        Write secondary captures too.
    files
        What else is written.
    description
        For DICOM: how the images came about.
    progress
        Told the share of the volume done; may raise to cancel, which leaves no partial file.
    device
        Where the solver computes: where its prior lies, if it has one.

    Raises
    ------
    DataError
        If an item is no raw scan, or cannot be used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    result = VolumeResult(len(items), {})
    residuals: list[dict[str, Any]] = []
    seconds: list[float] = []
    facts: list[dict[str, Any]] = []
    geometries: list[Geometry] = []
    unit = 0.0
    calibration: dict[str, Any] = {}
    maps: list[dict[str, Any]] = []
    with ExitStack() as stack:
        scratch = _Scratch(Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder, prefix=".writing-"))))
        volumes: dict[str, NiftiWriter] = {}
        others = [stack.enter_context(file) for file in files]
        source.expect(items)
        for number, item in enumerate(items):
            report_slice = part_of(progress or silent, number, len(items))
            prepared, reconstruction = reconstruct_slice(source, item, prepare, solver, seed, report_slice, device)
            scale = float(prepared.measurement.scale[0])
            unit = max(unit, scale)
            images = magnitudes(reconstruction, prepared)
            for name, image in (images | _support(prepared)).items():
                if name not in volumes:
                    volumes[name] = stack.enter_context(NiftiWriter(folder / f"{name}.nii.gz"))
                volumes[name].add(image, prepared.geometry)
            comparison = compared_with(prepared, target_of(source, item, prepared))
            scratch.add(images, comparison)
            for file in others:
                file.add(prepared, reconstruction, images["mean"], comparison.part)
            geometries.append(prepared.geometry)
            residuals.append(asdict(reconstruction.residual) | {"explains": reconstruction.residual.explains})
            seconds.append(reconstruction.seconds)
            facts.append(reconstruction.facts)
            if not reconstruction.residual.explains:
                if not result.unexplained and solver.settings.fits_data:
                    method = solver.settings
                    result.cause = likely_cause(
                        prepared.measurement,
                        prepared.report,
                        learned=method.needs is not None,
                        one_set=not method.takes_sets,
                    )
                result.unexplained.append(number)
            if number == 0:
                calibration = prepared.report
            maps.append(prepared.report["maps"])
        for name, image, number in scratch.pictures():
            target = folder / "png" / f"{name}_{number:03d}.png"
            target.parent.mkdir(exist_ok=True)
            # Uncertainty is a tenth of the image's window: as wide, it would all be black.
            white = WINDOW * unit * (0.1 if name == "uncertainty" else 1.0)
            write_png(target, image, (0.0, white), geometries[number])
        if dicom:
            _write_dicom(folder, scratch, geometries, WINDOW * unit, description)
        result.figures = {
            "slices": len(items),
            "seconds_per_slice": sum(seconds) / len(seconds),
            "residual": residuals,
            "explains": not result.unexplained,
            "likely_cause": result.cause,
            "calibration_of_first_slice": calibration,
            "coil_maps": {name: [one.get(name) for one in maps] for name in MAP_FIGURES},
        } | scratch.quality()
        if any(facts):
            result.figures["facts"] = facts
    return result


def reconstruct_slice(
    source: Source,
    item: int,
    prepare: Callable[[Scan], Prepared],
    solver: Solver,
    seed: int,
    progress: Progress,
    device: torch.device | str,
) -> tuple[Prepared, Reconstruction]:
    """Read one slice, prepare it and reconstruct it; the parameters are those of :func:`reconstruct_volume`.

    Returns
    -------
    tuple
        The measurement with what is known of it, and what the solver made of it, on the CPU.

    Raises
    ------
    DataError
        If the item is no raw scan, or cannot be used.
    """
    scan = source[item]
    if not isinstance(scan, Scan):
        raise DataError(
            f"{scan.id}: the file holds images, and reconstruction needs raw k-space; python -m rsd_med.simulate makes "
            "some from images."
        )
    prepared = prepare(scan)
    generator = generator_for(seed, "reconstruct", scan.id, device=device)
    return prepared, solver(prepared.measurement.to(device), generator, progress).to("cpu")


def _support(prepared: Prepared) -> dict[str, Tensor]:
    """Return how many maps of a coil each pixel has, ``(y, x)`` float32; nothing for a coil that needs none."""
    if prepared.report["maps"]["kind"] == "ones":
        return {}
    return {"support": prepared.measurement.operator.support()[0].sum(0).to(torch.float32)}


class _Scratch:
    """Slices on disk that are needed once more when the volume is complete: for its window and its peak."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.comparisons: list[Comparison] = []

    @property
    def count(self) -> int:
        return len(self.comparisons)

    def add(self, images: dict[str, Tensor], comparison: Comparison) -> None:
        for name, image in images.items():
            np.save(self._path(name, self.count), image.numpy(force=True))
        if comparison.reference is not None:
            np.save(self._path("reference", self.count), comparison.reference.to(torch.float32).numpy(force=True))
        self.comparisons.append(replace(comparison, reference=None))

    def get(self, name: str, number: int) -> Tensor | None:
        path = self._path(name, number)
        return torch.from_numpy(np.load(path)) if path.exists() else None

    def get_part(self, name: str, number: int) -> Tensor | None:
        """Return the part of an image that figures are over."""
        image = self.get(name, number)
        return None if image is None else self.comparisons[number].cut(image)

    def pictures(self) -> Iterator[tuple[str, Tensor, int]]:
        for number in range(self.count):
            for name, title in (("mean", "slice"), ("std", "uncertainty"), ("reference", "reference")):
                image = self.get(name, number)
                if image is not None:
                    yield title, image, number

    def quality(self) -> dict[str, Any]:
        """Return fastMRI's figures, and how honest the uncertainty is; nothing without references.

        As fastMRI's evaluation does, over the reconstructed matrix, where the file has one.
        """
        if any(comparison.name is None for comparison in self.comparisons):
            return {}
        pairs, first = _Pairs(self), self.comparisons[0]
        figures: dict[str, Any] = {
            "quality": asdict(volume_quality(pairs, first.peak)),
            "reference": {"name": first.name, "over": list(pairs[0][0].shape), "data_range": first.peak},
        }
        peak = max(float(reference.max()) for reference, _ in pairs)
        covered, ranked = [], []
        for number in range(self.count):
            reference, mean = pairs[number]
            std, low, high = (self.get_part(name, number) for name in ("std", "lower", "upper"))
            inside = reference > HEAD * peak
            if std is None or low is None or high is None or int(inside.sum()) < 2:
                continue
            covered.append(coverage((low, high), reference, inside))
            ranked.append(rank_correlation(std, (mean - reference).abs(), inside))
        if covered:
            figures["uncertainty"] = {
                "coverage_of_90_percent_interval": sum(covered) / len(covered),
                "rank_correlation_with_error": sum(ranked) / len(ranked),
                "inside": f"reference above {HEAD:.0%} of its peak",
            }
        return figures

    def _path(self, name: str, number: int) -> Path:
        return self.folder / f"{name}_{number:06d}.npy"


class _Pairs(Sequence[tuple[Tensor, Tensor]]):
    """Reference and reconstruction of each slice, read when asked for."""

    def __init__(self, scratch: _Scratch) -> None:
        self.scratch = scratch

    def __len__(self) -> int:
        return self.scratch.count

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(number)
        return self.scratch.get_part("reference", number), self.scratch.get_part("mean", number)


def _write_dicom(folder: Path, scratch: _Scratch, geometries: list[Geometry], white: float, description: str) -> None:
    from rsd_med.data.orientation import stack_geometry
    from rsd_med.data.writing.dicom import write_dicom

    slices = (image for name, image, _ in scratch.pictures() if name == "slice")
    write_dicom(folder / "dicom", slices, stack_geometry(geometries), (0.0, white), description)
