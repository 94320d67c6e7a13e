"""What leaves the app: NIfTI, PNG, CSV and DICOM of a reconstruction, each with the notice, none with an identifier."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsd_med.data.scan import Geometry
from rsd_med.data.windowing import grey_levels

from ..csv_cells import safe_cell
from ..notice import NOTICE, burn_in


def write_exports(
    folder: Path,
    images: dict[str, np.ndarray],
    geometry: Geometry,
    window: tuple[float, float],
    figures: Sequence[tuple[str, Any]],
    *,
    name: str,
    title: str,
) -> dict[str, str]:
    """Write everything to keep of one reconstruction.

    Parameters
    ----------
    folder
        Where to; private to the session.
    images
        ``result`` and, where there are samples, ``uncertainty``: float32 (y, x), values of the file that was sent.
    geometry
        Of the scan.
    window
        (black, white) of pictures.
    figures
        Rows of the table: name and value.
    name
        What every file's name begins with: which scan, slice, acceleration and method.
    title
        The same in words, for the picture and the DICOM files.

    Returns
    -------
    dict[str, str]
        Path of each file in the folder by the name under which it is kept.
    """
    from rsd_med.data.writing.dicom import write_dicom
    from rsd_med.data.writing.nifti import write_nifti

    folder.mkdir(mode=0o700, exist_ok=True)
    written: dict[str, str] = {}
    for part, image in images.items():
        path = folder / (f"{name}.nii.gz" if part == "result" else f"{name}_{part}.nii.gz")
        write_nifti(path, image, geometry)
        written[path.name] = str(path)
    picture = folder / f"{name}.png"
    burn_in(grey_levels(images["result"], window), f"{title}. {NOTICE}").save(picture)
    written[picture.name] = str(picture)
    table = folder / f"{name}.csv"
    table.write_text(to_csv([("notice", NOTICE), *figures]), encoding="utf-8")
    written[table.name] = str(table)
    series = folder / "dicom"
    whole = min(window[0], float(images["result"].min())), max(window[1], float(images["result"].max()))
    files = write_dicom(series, images["result"][None], geometry, whole, f"rsd_med: {title}"[:64])
    archive = folder / f"{name}-dicom.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.write(path, path.name)
    written[archive.name] = str(archive)
    return written


def to_csv(rows: Sequence[tuple[str, Any]]) -> str:
    """Return a table of two columns that no spreadsheet takes for a formula."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(("figure", "value"))
    for row in rows:
        writer.writerow([safe_cell(cell) for cell in row])
    return text.getvalue()
