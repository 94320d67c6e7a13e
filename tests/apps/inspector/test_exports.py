"""What leaves the app: the notice in it, the scan's units, and nothing that a spreadsheet would run."""

import csv
import io
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from apps.inspector.compute.exports import write_exports
from apps.inspector.notice import NOTICE, burn_in
from rsd_med.data.scan import Geometry
from rsd_med.data.windowing import grey_levels


def test_every_export_holds_the_notice_and_the_scans_own_units(tmp_path):
    pytest.importorskip("pydicom", reason="pydicom is not installed, so no DICOM file could be read back.")
    import pydicom

    image = np.random.default_rng(0).random((120, 130)).astype(np.float32)
    affine = np.array([[0, 2.0, 0, 5], [3.0, 0, 0, 6], [0, 0, 4.0, 7], [0, 0, 0, 1]])
    named = {"name": "scan-1-slice-3-r-4-cg_sense", "title": "Scan 1, slice 3 of 9, R 4, CG-SENSE"}
    geometry, window = Geometry(affine, (3.0, 2.0, 4.0)), (0.0, 40.0)
    image *= 50
    files = write_exports(tmp_path / "out", {"result": image}, geometry, window, [("method", "=1+1")], **named)
    start = named["name"]
    assert set(files) == {f"{start}.nii.gz", f"{start}.png", f"{start}.csv", f"{start}-dicom.zip"}
    volume = nibabel.load(files[f"{start}.nii.gz"])
    assert np.allclose(np.linalg.norm(volume.affine[:3, :3], axis=0).prod(), 24)
    assert np.isclose(volume.get_fdata().max(), image.max(), rtol=1e-5)
    picture = np.asarray(Image.open(files[f"{start}.png"]))
    np.testing.assert_array_equal(picture[:120, :130], grey_levels(image, window))
    assert (picture[120:] > 200).sum() > 50, "no letters below the picture"
    with zipfile.ZipFile(files[f"{start}-dicom.zip"]) as archive:
        (name,) = archive.namelist()
        found = pydicom.dcmread(io.BytesIO(archive.read(name)))
    assert "DERIVED" in found.ImageType
    assert named["title"] in found.SeriesDescription
    back = found.pixel_array * float(found.RescaleSlope) + float(found.RescaleIntercept)
    assert np.isclose(back.max(), image.max(), rtol=1e-3)  # nothing beyond the window is cut off
    assert "diagnos" in str(found.ImageComments).lower()
    assert str(found.PatientName) == "RESEARCH"
    rows = list(csv.reader(io.StringIO(Path(files[f"{start}.csv"]).read_text(encoding="utf-8"))))
    assert rows[1] == ["notice", NOTICE]
    assert rows[2][1].startswith("'=")


def test_the_notice_covers_no_pixel():
    levels = np.arange(400, dtype=np.uint8).reshape(20, 20)
    page = np.asarray(burn_in(levels))
    np.testing.assert_array_equal(page[:20, :20], levels)
    assert page.shape[1] > 20
