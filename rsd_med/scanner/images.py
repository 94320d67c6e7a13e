"""What goes back to the scanner: images with the header of the lines they were made of, so that it can place them.

The fixed header says where an image lies in the words of the acquisition: ``position``, which is the pixel at the
centre of the Fourier transform (index n // 2), and the directions of readout, phase encoding and slice. The first index
of an image is the readout's, so that no pixel is moved, turned or mirrored on the way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from torch import Tensor

from rsd_med.data.ismrmrd_header import Header
from rsd_med.inverse.base import Reconstruction, SolverSettings
from rsd_med.inverse.causes import likely_cause
from rsd_med.inverse.magnitudes import magnitudes
from rsd_med.inverse.scans import Prepared
from rsd_med.inverse.volume import WINDOW
from rsd_med.scanner.wire import FLOAT, IMAGE, MAGNITUDE, SHORT, image_message

WHITE = 4095
"""The pixel of the display window's white, where pixels are whole numbers: the largest of 12 bits."""

SERIES = {"mean": 1, "std": 2, "lower": 3, "upper": 4}
"""The number of the series that each image belongs to."""

_COPIED = (
    *("measurement_uid", "position", "read_dir", "phase_dir", "slice_dir", "patient_table_position"),
    *("acquisition_time_stamp", "physiology_time_stamp"),
)
_COUNTED = ("average", "slice", "contrast", "phase", "repetition", "set")


@dataclass(frozen=True)
class SliceResult:
    """One reconstructed slice and where it came from.

    Attributes
    ----------
    number
        Of the slice in the measurement, from 1.
    head
        The fixed header of its first line.
    header
        The measurement's header.
    images
        Magnitudes by name, float32 (y, x), in the units of the raw data.
    spacing_mm
        From row to row and from column to column; None where the header does not say.
    scale
        The slice's, in the units of the raw data.
    facts
        Attributes that say how far the image is to be trusted.
    comment
        The same in words.
    flagged
        Whether it does not explain the measurement, although it was meant to.
    """

    number: int
    head: np.void
    header: Header
    images: dict[str, Tensor]
    spacing_mm: tuple[float, ...] | None
    scale: float
    facts: Mapping[str, str]
    comment: str
    flagged: bool


def slice_result(
    number: int,
    head: np.void,
    header: Header,
    prepared: Prepared,
    reconstruction: Reconstruction,
    method: SolverSettings,
) -> SliceResult:
    """Return what is sent of one slice.

    Parameters
    ----------
    number
        Of the slice in the measurement, from 1.
    head, header
        Of its first line, and of the measurement.
    prepared, reconstruction
        The slice, and what was made of it.
    method
        Its settings say whether the image is meant to explain the measurement.
    """
    residual, scale = reconstruction.residual, float(prepared.measurement.scale[0])
    facts = {
        "explains": str(residual.explains).lower(),
        "relative_residual": f"{residual.relative:.6g}",
        "worst_part": residual.worst.part,
        "sigma": f"{float(prepared.measurement.sigma[0]) * scale:.6g}",
        "seconds": f"{reconstruction.seconds:.3f}",
    }
    if residual.noise_ratio is not None:
        facts["noise_ratio"] = f"{residual.noise_ratio:.6g}"
    flagged, comment = method.fits_data and not residual.explains, residual.sentence()
    if flagged:
        comment += f"; {likely_cause(prepared.measurement, prepared.report, learned=method.needs is not None)}"
    return SliceResult(
        number=number,
        head=head,
        header=header,
        images=magnitudes(reconstruction, prepared),
        spacing_mm=prepared.geometry.spacing_mm,
        scale=scale,
        facts=facts,
        comment=comment,
        flagged=flagged,
    )


def image_messages(
    results: Sequence[SliceResult], series: Sequence[str], method: str, *, whole_numbers: bool
) -> Iterator[bytes]:
    """Return the messages of one volume, series after series.

    Parameters
    ----------
    results
        Its slices.
    series
        Which images: keys of :data:`SERIES`; those that the method does not give are left out.
    method
        Its name.
    whole_numbers
        Pixels as int16: 4095 is white in the display window of the whole package, 1.25 times the volume's largest
        scale; one factor for all images of the volume, which the attribute ``rsd_med_units_per_pixel`` tells. Else
        float32 in the units of the raw data.
    """
    white = WINDOW * max(result.scale for result in results)
    for name in series:
        for result in results:
            image = result.images.get(name)
            if image is None:
                continue
            pixels = image.numpy(force=True).T  # (phase encoding, readout)
            attributes = _attributes(result, name, method)
            if whole_numbers:
                pixels = np.clip(np.rint(pixels * (WHITE / white)), 0, np.iinfo(np.int16).max).astype("<i2")
                attributes |= {
                    "WindowCenter": [str((WHITE + 1) // 2)],
                    "WindowWidth": [str(WHITE + 1)],
                    "rsd_med_units_per_pixel": [f"{white / WHITE:.9g}"],
                }
            else:
                attributes["rsd_med_white"] = [f"{white:.9g}"]
            yield image_message(_header(result, pixels, SERIES[name]), _xml(attributes), pixels)


def _header(result: SliceResult, pixels: np.ndarray, series: int) -> np.ndarray:
    header = np.zeros(1, IMAGE)
    columns, rows = pixels.shape
    spacing = result.spacing_mm or (0.0, 0.0)
    space = result.header.recon.fov_mm or result.header.encoded.fov_mm
    header["version"] = 1
    header["data_type"] = SHORT if pixels.dtype.kind == "i" else FLOAT
    header["image_type"] = MAGNITUDE
    header["matrix_size"] = (rows, columns, 1)
    header["field_of_view"] = (rows * spacing[0], columns * spacing[1], 0.0 if space is None else space[2])
    header["channels"] = 1
    header["image_series_index"] = series
    header["image_index"] = min(result.number, 65535)
    for field in _COPIED:
        header[field] = result.head[field]
    for field in _COUNTED:
        header[field] = result.head["idx"][field]
    return header


def _attributes(result: SliceResult, name: str, method: str) -> dict[str, list[str]]:
    """Return the attributes, of which the capitalised ones are the standard's own."""
    directions = {"ImageRowDir": "read_dir", "ImageColumnDir": "phase_dir", "ImageSliceDir": "slice_dir"}
    words = [method.upper(), *([] if name == "mean" else [name.upper()])]
    words += ["NOT_EXPLAINED"] if result.flagged else []
    warning = ["DO NOT TRUST: the image does not explain the measurement"] if result.flagged else []
    return {
        "DataRole": ["Image"],
        "ImageProcessingHistory": ["rsd_med", method],
        "ImageType": ["RESEARCH", *words],
        "SeriesDescriptionAdditional": ["rsd_med", *words],
        "ImageComments": [*warning, "computed, not for diagnosis", result.comment],
        **{to: [f"{float(value):.9g}" for value in result.head[of]] for to, of in directions.items()},
        "rsd_med_image": [name],
        "rsd_med_method": [method],
        **{f"rsd_med_{key}": [value] for key, value in result.facts.items()},
    }


def _xml(attributes: Mapping[str, Sequence[str]]) -> str:
    """Write attributes as ISMRMRD's meta container."""
    root = ElementTree.Element("ismrmrdMeta")
    for name, values in attributes.items():
        meta = ElementTree.SubElement(root, "meta")
        ElementTree.SubElement(meta, "name").text = name
        for value in values:
            ElementTree.SubElement(meta, "value").text = value
    return ElementTree.tostring(root, encoding="unicode")
