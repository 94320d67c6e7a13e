"""Small k-space files for the tests of readers."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from rsd_med.base.notices import forget_what_was_said

HEADER = """<?xml version="1.0" encoding="utf-8"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<acquisitionSystemInformation><systemFieldStrength_T>2.89</systemFieldStrength_T></acquisitionSystemInformation>
<encoding>
<encodedSpace><matrixSize><x>{encoded}</x><y>{columns}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>320</x><y>160</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{recon}</x><y>{columns}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>160</x><y>160</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
</kspace_encoding_step_1></encodingLimits></encoding>
<sequenceParameters><sequence_type>Flash</sequence_type></sequenceParameters></ismrmrdHeader>"""


def complex_noise(*shape: int, seed: int = 0) -> np.ndarray:
    draws = np.random.default_rng(seed).standard_normal((*shape, 2), dtype=np.float32)
    return draws.view(np.complex64)[..., 0]


def header(
    rows: int, columns: int, recon: int | None = None, last: int | None = None, centre: int | None = None
) -> str:
    return HEADER.format(
        encoded=rows,
        columns=columns,
        recon=rows if recon is None else recon,
        last=columns - 1 if last is None else last,
        centre=columns // 2 if centre is None else centre,
    )


@pytest.fixture
def write_file(tmp_path: Path) -> Callable[..., Path]:
    """Write ``name.h5`` with k-space, any further datasets and attributes."""

    def write(name: str = "scan", kspace: np.ndarray | None = None, attrs: dict | None = None, **datasets) -> Path:
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file["kspace"] = complex_noise(3, 2, 16, 12) if kspace is None else kspace
            for key, value in datasets.items():
                file[key] = value
            for key, value in (attrs or {}).items():
                file.attrs[key] = value
        return path

    return write


@pytest.fixture(autouse=True)
def _say_again() -> None:
    """Let every test hear what is said once in a process."""
    forget_what_was_said()
