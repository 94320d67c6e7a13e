"""Figures that can be set beside fastMRI's: its masks, its zero-filled images, its target and its evaluation.

What fastMRI does is written out here, in NumPy and scikit-image, from its version 0.3.0.
"""

import json

import h5py
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from rsd_med import reconstruct
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.notices import forget_what_was_said
from rsd_med.calibration.calibrate import calibrate
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.cfl import read_cfl_maps
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5, FastMRIHDF5Settings
from rsd_med.data.opening import open_scan
from rsd_med.inverse.fastmri_masks import fastmri_mask
from rsd_med.operators.fourier import fft2c

from .data.conftest import complex_noise

# fastMRI's MaskFunc for 40 columns, R = 4, center_fraction 0.08, seed tuple(map(ord, "file1000033.h5")).
COLUMNS = {
    "random": [6, 7, 13, 17, 19, 20, 21, 27],
    "equispaced": [3, 7, 11, 15, 19, 20, 21, 23, 27, 31, 35, 39],
    "equispaced_fraction": [1, 6, 12, 17, 19, 20, 21, 22, 27, 33, 38],
}


def crop(data, shape):
    y, x = (data.shape[-2] - shape[0]) // 2, (data.shape[-1] - shape[1]) // 2
    return data[..., y : y + shape[0], x : x + shape[1]]


def evaluate(target_file, prediction_file):
    """As fastmri/evaluate.py, of one volume."""
    with h5py.File(target_file) as target, h5py.File(prediction_file) as prediction:
        target, images = target["reconstruction_rss"][()], prediction["reconstruction"][()]
    side = target.shape[-1]
    target, images = crop(target, (side, side)), crop(images, (side, side))
    peak = target.max()
    similarity = [structural_similarity(a, b, data_range=peak) for a, b in zip(target, images, strict=True)]
    return {
        "nmse": np.linalg.norm(target - images) ** 2 / np.linalg.norm(target) ** 2,
        "psnr": peak_signal_noise_ratio(target, images, data_range=peak),
        "ssim": np.mean(similarity),
    }


def zero_filled(path, mask, part):
    """As fastMRI's zero-filled example: the root sum of squares of F^H M y, cropped."""
    with h5py.File(path) as file:
        kspace = file["kspace"][()] * mask
    shifted = np.fft.ifftshift(kspace, (-2, -1))
    coils = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), (-2, -1))
    return crop(np.sqrt((np.abs(coils) ** 2).sum(1)), part)


def run(path, out, *options):
    assert reconstruct.main(["-", str(path), "--hdf5", "--out", str(out), *map(str, options)]) == 0
    return json.loads((out / "metrics.json").read_text())["volumes"][0]


@pytest.mark.parametrize("pattern", COLUMNS)
def test_masks_are_fastmris(pattern):
    assert fastmri_mask(pattern, 40, 4, 3, "file1000033.h5").nonzero().flatten().tolist() == COLUMNS[pattern]
    with pytest.raises(ValueError, match="10 central ones"):
        fastmri_mask(pattern, 40, 4, 10, "a.h5")


@pytest.mark.parametrize("name", ["real_brain_8ch.h5", "synth_multicoil_train_0.h5"])
def test_the_numbers_are_those_of_fastmris_evaluation(shared_data, tmp_path, name):
    path = shared_data / "fastmri_format" / name
    with h5py.File(path) as file:
        columns, part = file["kspace"].shape[-1], file["reconstruction_rss"].shape[-2:]
        target = file["reconstruction_rss"][()]
    options = ("--acceleration", 4, "--pattern", "equispaced_fraction", "--fastmri-masks")
    mask = fastmri_mask("equispaced_fraction", columns, 4, round(0.08 * columns), name).numpy()
    filled = run(path, tmp_path / "zero", "--method", "zero_filled", *options)
    with h5py.File(tmp_path / "zero" / "fastmri" / name) as file:
        assert file["reconstruction"].shape == target.shape
        wanted = zero_filled(path, mask, part)
        assert np.abs(file["reconstruction"][()] - wanted).max() < 1e-6 * wanted.max()
    assert filled["quality"] == pytest.approx(evaluate(path, tmp_path / "zero" / "fastmri" / name), rel=1e-6)
    few = ("--set", "iterations=8", "--set", "random_shifts=false")
    sparse = run(path, tmp_path / "l1", "--method", "l1_wavelet", *few, *options)
    assert sparse["quality"] == pytest.approx(evaluate(path, tmp_path / "l1" / "fastmri" / name), rel=1e-6)
    assert sparse["quality"]["psnr"] > filled["quality"]["psnr"] + 1
    # Nothing left out, nothing lost: the file's own target.
    full = run(path, tmp_path / "full", "--method", "zero_filled")
    assert full["quality"]["nmse"] < 1e-11
    assert full["reference"]["name"] == "reconstruction_rss of the file"


def scans(path, seed, acquisition=None, noise=0.05):
    """Two slices of a disc, four coils with unequal and correlated noise."""
    y, x = np.mgrid[-1:1:32j, -1:1:24j]
    image = (y**2 + x**2 < 0.6) * (1 + 0.3 * np.cos(9 * x))
    angle = np.arange(4)[:, None, None] * np.pi / 2
    maps = np.exp(-((y - np.sin(angle)) ** 2 + (x - np.cos(angle)) ** 2) / 2 + 1j * angle)
    mixing = np.diag([0.3, 1, 1, 2]) + 0.4 * np.eye(4, k=1)
    drawn = np.random.default_rng(seed).standard_normal((2, 2, 4, 32, 24))
    kspace = fft2c(torch.from_numpy(maps * image)).numpy() + noise * np.einsum("cd,sdyx->scyx", mixing, drawn[0])
    with h5py.File(path, "w") as file:
        file["sensitivity_maps"] = np.stack([maps / np.sqrt((np.abs(maps) ** 2).sum(0))] * 2).astype(np.complex64)
        file["kspace"] = (kspace + 1j * noise * np.einsum("cd,sdyx->scyx", mixing, drawn[1])).astype(np.complex64)
        if acquisition is not None:
            file.attrs["acquisition"] = acquisition
    return path


def test_whitening_leaves_the_shading_of_the_file(tmp_path):
    """A method that solves for one image is written as bright, everywhere, as the coils of the file have it."""
    scans(tmp_path / "a.h5", 0, noise=0.004)
    with h5py.File(tmp_path / "a.h5") as file:
        rss = zero_filled(tmp_path / "a.h5", 1, file["kspace"].shape[2:])
    inside = rss > 0.3 * rss.max()
    run(tmp_path / "a.h5", tmp_path / "out", "--method", "cg_sense", "--set", "regularisation=1e-4")
    with h5py.File(tmp_path / "out" / "fastmri" / "a.h5") as file:
        ratio = file["reconstruction"][()][inside] / rss[inside]
    assert np.percentile(ratio, [1, 99]) == pytest.approx([1, 1], abs=0.03)
    scan = open_scan(tmp_path / "a.h5")[0]
    whitened = calibrate(scan).shading()[inside[0]]
    assert float(whitened.max() / whitened.min()) > 1.5  # what would be left without it
    for compression in ("svd", "geometric"):
        coils = calibrate(scan, CalibrationSettings(virtual_coils=3, compression=compression)).coils
        images = torch.from_numpy(complex_noise(3, 32, 24))
        assert torch.allclose(coils.maps(coils.receive(images)), images, atol=1e-5)


def test_the_slices_of_a_volume_share_a_mask_and_bart_gets_what_we_had(tmp_path):
    scans(tmp_path / "a.h5", 0)
    options = ("--method", "cg_sense", "--acceleration", 2, "--acs-lines", 6, "--bart", "--set", "regularisation=1e-4")
    run(tmp_path / "a.h5", tmp_path / "out", *options)
    first, second = open_scan(tmp_path / "out" / "bart" / "kspace")
    assert first.acquired.tolist() == second.acquired.tolist()
    assert int(first.acquired.sum()) == 12
    maps = read_cfl_maps(tmp_path / "out" / "bart" / "maps")[1, 0]
    image = read_cfl_maps(tmp_path / "out" / "bart" / "image")[1, 0, 0]
    again = torch.where(second.acquired, fft2c(torch.from_numpy(maps * image)), 0)
    assert (again - second.kspace).norm() < 0.3 * second.kspace.norm()


def test_a_folder_of_several_acquisitions(tmp_path, caplog):
    for number, name in enumerate(("AXT2", "AXT1", None, "AXT2")):
        scans(tmp_path / f"{number}.h5", number, name)
    forget_what_was_said()
    assert len(FastMRIHDF5(tmp_path)) == 8
    assert "AXT1 (1), AXT2 (2), unnamed (1)" in caplog.text
    chosen = FastMRIHDF5Settings(root=str(tmp_path), acquisition="AXT2").build()
    assert [chosen.id(number) for number in range(4)] == ["0_000", "0_001", "3_000", "3_001"]
    with pytest.raises(DataError, match="AXFLAIR; those there are: AXT1, AXT2, unnamed"):
        open_scan(tmp_path, acquisition="AXFLAIR")
    np.save(tmp_path / "a.npy", complex_noise(2, 8, 8))
    with pytest.raises(ProtocolError, match="name their acquisition"):
        open_scan(tmp_path / "a.npy", acquisition="AXT2")


@pytest.mark.parametrize(
    ("target", "peak", "sentence"),
    [
        (np.ones((3, 32, 24), "f4"), 1.0, "has 3 slices and 'kspace' 2"),
        (np.full((2, 32, 24), np.nan, "f4"), 1.0, "NaN"),
        (np.ones((2, 40, 24), "f4"), 1.0, None),
        (np.ones((2, 32, 24), "f4"), "much", None),
    ],
)
def test_a_target_that_cannot_be_one_is_said(tmp_path, caplog, target, peak, sentence):
    with h5py.File(scans(tmp_path / "a.h5", 0), "a") as file:
        file["reconstruction_rss"] = target
        file.attrs["max"] = peak
    if sentence is not None:
        with pytest.raises(DataError, match=sentence):
            run(tmp_path / "a.h5", tmp_path / "out", "--method", "zero_filled")
        return
    forget_what_was_said()
    figures = run(tmp_path / "a.h5", tmp_path / "out", "--method", "zero_filled")
    assert ("larger than the image" in caplog.text) == (target.shape[1] > 32)
    assert ("reference" in figures) == (target.shape[1] == 32)
