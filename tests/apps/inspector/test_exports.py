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
    files = write_exports(
        tmp_path / "out", {"result": image}, Geometry(affine, (3.0, 2.0, 4.0)), 50.0, 1.25, [("method", "=1+1")]
    )
    assert set(files) == {"result.nii.gz", "result.png", "figures.csv", "result-dicom.zip"}
    volume = nibabel.load(files["result.nii.gz"])
    assert np.allclose(np.linalg.norm(volume.affine[:3, :3], axis=0).prod(), 24)
    assert np.isclose(volume.get_fdata().max(), image.max() * 50, rtol=1e-5)
    picture = np.asarray(Image.open(files["result.png"]))
    np.testing.assert_array_equal(picture[:120, :130], grey_levels(image, (0, 1.25)))
    assert (picture[120:] > 200).sum() > 50, "no letters below the picture"
    with zipfile.ZipFile(files["result-dicom.zip"]) as archive:
        (name,) = archive.namelist()
        found = pydicom.dcmread(io.BytesIO(archive.read(name)))
    assert "DERIVED" in found.ImageType
    assert "diagnos" in str(found.ImageComments).lower()
    assert str(found.PatientName) == "RESEARCH"
    rows = list(csv.reader(io.StringIO(Path(files["figures.csv"]).read_text(encoding="utf-8"))))
    assert rows[1] == ["notice", NOTICE]
    assert rows[2][1].startswith("'=")


def test_the_notice_covers_no_pixel():
    levels = np.arange(400, dtype=np.uint8).reshape(20, 20)
    page = np.asarray(burn_in(levels))
    np.testing.assert_array_equal(page[:20, :20], levels)
    assert page.shape[1] > 20
