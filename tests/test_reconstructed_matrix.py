"""Figures are over the reconstructed matrix, as fastMRI's are: against its evaluation, written out here."""

import h5py
import nibabel
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from apps.inspector.compute.parsing import _read
from apps.inspector.compute.reconstruction import ReadyScan, load_scan, quality
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.opening import open_scan
from rsd_med.inverse.scans import Undersampling, at_lower_resolution, prepare
from rsd_med.inverse.volume import reconstruct_volume
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.operators.fourier import fft2c

from .data.conftest import HEADER
from .data.ismrmrd_files import lines_of, write, xml

PLAIN = CalibrationSettings(noise="none")


def center_crop(data, shape):
    """As fastmri.data.transforms.center_crop (Zbontar et al. 2018, arXiv:1811.08839)."""
    width, height = (data.shape[-2] - shape[0]) // 2, (data.shape[-1] - shape[1]) // 2
    return data[..., width : width + shape[0], height : height + shape[1]]


def fastmri_figures(target, reconstruction):
    """As fastmri.evaluate, on volumes (slice, y, x)."""
    peak = target.max()
    similarity = [structural_similarity(a, b, data_range=peak) for a, b in zip(target, reconstruction, strict=True)]
    return {
        "nmse": np.linalg.norm(target - reconstruction) ** 2 / np.linalg.norm(target) ** 2,
        "psnr": peak_signal_noise_ratio(target, reconstruction, data_range=peak),
        "ssim": np.mean(similarity),
    }


def knees(rows, columns, part, slices=2, coils=4):
    """K-space of objects that fill the reconstructed part, and only it."""
    y = (np.arange(rows) - rows // 2)[:, None] / (part[0] / 2)
    x = (np.arange(columns) - columns // 2)[None] / (part[1] / 2)
    found = []
    for number in range(slices):
        image = (abs(x) < 0.9) * (abs(y) < 0.9) * (0.6 + 0.3 * np.sin((9 + number) * x) * np.cos(7 * y))
        angle = 2 * np.pi * np.arange(coils)[:, None, None] / coils
        maps = np.exp(-((y - np.sin(angle)) ** 2 + (x - np.cos(angle)) ** 2) / 3 + 1j * (angle + 0.5 * x))
        clean = fft2c(torch.from_numpy(maps * image)).numpy()
        noise = np.random.default_rng(number).standard_normal((2, *clean.shape))
        found.append(clean + 0.02 * (noise[0] + 1j * noise[1]))
    return np.stack(found).astype(np.complex64)


def fastmri_file(path, rows, columns, part):
    header = HEADER.format(encoded=rows, columns=columns, recon=part[0], last=columns - 1, centre=columns // 2)
    before, _, after = header.partition("<reconSpace>")
    after = after.replace(f"<y>{columns}</y>", f"<y>{part[1]}</y>", 1)
    with h5py.File(path, "w") as file:
        file["kspace"] = knees(rows, columns, part)
        file["ismrmrd_header"] = before + "<reconSpace>" + after
    return path


@pytest.mark.parametrize(("columns", "part"), [(93, (40, 80)), (92, (40, 79)), (40, (40, 80))])
def test_the_figures_of_a_volume_are_fastmris(tmp_path, columns, part):
    source = open_scan(fastmri_file(tmp_path / "knee.h5", 80, columns, part))
    shown = (40, min(columns, part[1]))
    undersampling = Undersampling(4, 8)
    result = reconstruct_volume(
        source, range(2), lambda scan: prepare(scan, undersampling, PLAIN), ZeroFilledSettings().build(), tmp_path
    )
    written = np.asarray(nibabel.load(tmp_path / "mean.nii.gz").dataobj).transpose(2, 0, 1)
    assert written.shape[2] == columns  # the image stays as wide as it was encoded
    target = np.stack([prepare(scan, undersampling, PLAIN).reference.numpy() for scan in source])
    wanted = fastmri_figures(center_crop(target, shown), center_crop(written, shown))
    assert result.figures["quality"] == pytest.approx(wanted, rel=1e-4)
    whole = fastmri_figures(target, written)
    assert (abs(whole["ssim"] - wanted["ssim"]) > 0.01) == (columns > part[1])


def test_the_app_has_the_same_figures(tmp_path):
    path = fastmri_file(tmp_path / "knee.h5", 80, 93, (40, 80))
    _read(path, tmp_path / "item.npz", 0)
    asked = load_scan(tmp_path / "item.npz")
    ready = ReadyScan(prepare(asked.scan, Undersampling(4, 8), PLAIN), asked.simulated)
    image = ready.prepared.measurement.image()[0]
    wanted = fastmri_figures(*(center_crop(part.numpy(), (40, 80)) for part in (ready.reference, image.abs())))
    assert quality(ready, image) == pytest.approx({name.upper(): value for name, value in wanted.items()}, rel=1e-4)


def test_a_smaller_image_has_a_smaller_part(tmp_path):
    scan = open_scan(fastmri_file(tmp_path / "knee.h5", 80, 93, (40, 80)))[0]
    assert scan.reconstructed == (40, 80)
    assert at_lower_resolution(scan, (20, 31)).reconstructed == (20, 27)


@pytest.mark.parametrize(("factor", "part"), [(1, None), (0.75, (16, 9))])
def test_ismrmrd_has_the_part_of_its_reconstructed_field_of_view(tmp_path, factor, part):
    """An interpolated matrix does not matter: the field of view does."""
    before, _, after = xml((32, 12), recon=16).decode().partition("<reconSpace>")
    after = after.replace("<y>36</y>", f"<y>{36 * factor:g}</y>", 1).replace(
        "<x>16</x><y>12</y>", "<x>64</x><y>64</y>", 1
    )
    path = write(tmp_path / "scan.h5", (before + "<reconSpace>" + after).encode(), lines_of(knees(32, 12, (16, 8))[0]))
    assert open_scan(path)[0].reconstructed == part
