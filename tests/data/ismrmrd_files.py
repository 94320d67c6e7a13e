"""ISMRMRD files for the tests, written with the format's own package."""

from collections.abc import Iterable
from pathlib import Path

import ismrmrd
import numpy as np

XML = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientName>DOE^JANE</patientName><patientID>4711</patientID></subjectInformation>
<acquisitionSystemInformation>{system}</acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>63860000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace><matrixSize><x>{ny}</x><y>{nx}</y><z>{nz}</z></matrixSize>
<fieldOfView_mm><x>{fov_y}</x><y>{fov_x}</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{ry}</x><y>{nx}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{rfov_y}</x><y>{fov_x}</y><z>5</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
</kspace_encoding_step_1></encodingLimits><trajectory>{trajectory}</trajectory>
<parallelImaging><accelerationFactor><kspace_encoding_step_1>1</kspace_encoding_step_1><kspace_encoding_step_2>1
</kspace_encoding_step_2></accelerationFactor>{mode}</parallelImaging></encoding></ismrmrdHeader>"""


def xml(shape=(16, 12), recon=None, nz=1, centre=None, trajectory="cartesian", mode="", system="") -> bytes:
    """A header; 2 mm rows and 3 mm columns."""
    ny, nx = shape
    ry = ny if recon is None else recon
    return XML.format(
        ny=ny,
        nx=nx,
        nz=nz,
        ry=ry,
        fov_y=2 * ny,
        fov_x=3 * nx,
        rfov_y=2 * ry,
        last=nx - 1,
        centre=nx // 2 if centre is None else centre,
        trajectory=trajectory,
        mode=f"<calibrationMode>{mode}</calibrationMode>" if mode else "",
        system=system,
    ).encode()


def line(data: np.ndarray, step: int, flags: Iterable[int] = (), **fields) -> ismrmrd.Acquisition:
    """One readout, (coil, samples); fields of the header, and counters by their names."""
    acquisition = ismrmrd.Acquisition.from_array(np.ascontiguousarray(data, np.complex64))
    acquisition.center_sample = data.shape[1] // 2
    acquisition.idx.kspace_encode_step_1 = step
    for name, value in fields.items():
        if name in ("slice", "contrast", "repetition", "phase", "set", "average", "kspace_encode_step_2"):
            setattr(acquisition.idx, name, value)
        elif isinstance(value, list | tuple):
            getattr(acquisition, name)[:] = value
        else:
            setattr(acquisition, name, value)
    for flag in flags:
        acquisition.setFlag(flag)
    return acquisition


def write(path: Path, header: bytes, lines: Iterable[ismrmrd.Acquisition]) -> Path:
    """Write a file."""
    dataset = ismrmrd.Dataset(str(path), "/dataset", True)
    dataset.write_xml_header(header)
    for acquisition in lines:
        dataset.append_acquisition(acquisition)
    dataset.close()
    return path


def lines_of(kspace: np.ndarray, steps: Iterable[int] | None = None, **fields) -> list[ismrmrd.Acquisition]:
    """The columns of k-space (coil, y, x) as lines."""
    return [line(kspace[:, :, step], step, **fields) for step in (range(kspace.shape[2]) if steps is None else steps)]
