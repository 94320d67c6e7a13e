"""Scans off the grid, or sampled in both directions of the plane: from the file to the image."""

import json
from dataclasses import replace

import h5py
import ismrmrd
import nibabel
import numpy as np
import pytest
import sigpy.mri.app
import torch

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import calibrate
from rsd_med.calibration.noncartesian import covered_cells, residual_noise
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.opening import open_scan
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.operators.fourier import fft2c
from rsd_med.operators.trajectories import radial_trajectory
from rsd_med.reconstruct import main
from tests.data.ismrmrd_files import line, write, xml
from tests.inverse.scenes import ambient_prior
from tests.noncartesian import birdcage, phantom, psnr, radial_scan, white, write_npz

pytest.importorskip("finufft", reason="finufft is an extra: pip install 'rsd_med[noncartesian]'")
SIZE, SPOKES, SIGMA = 32, 24, 0.02


@pytest.fixture(scope="module")
def radial():
    return radial_scan(phantom(SIZE), SPOKES, 4, SIGMA)


@pytest.fixture
def npz(radial, tmp_path):
    return write_npz(tmp_path / "radial.npz", radial)


def image_of(folder):
    return np.asarray(nibabel.load(folder / "mean.nii.gz").dataobj).squeeze()


# --- readers --------------------------------------------------------------------------------------------------------


def as_hdf5(radial, folder):
    with h5py.File(folder / "radial.h5", "w") as file:
        file["kspace"], file["trajectory"], file["matrix"] = radial.kspace[None], radial.trajectory, [SIZE, SIZE]
    return folder / "radial.h5"


def as_ismrmrd(radial, folder, header=None, third=None):
    lines = []
    for spoke in range(SPOKES):
        acquisition = line(radial.kspace[:, spoke], spoke)
        acquisition.resize(2 * SIZE, len(radial.kspace), trajectory_dimensions=2 if third is None else 3)
        acquisition.data[:], acquisition.traj[:, :2] = radial.kspace[:, spoke], radial.trajectory[spoke] / SIZE
        if third is not None:
            acquisition.traj[:, 2] = third
        lines.append(acquisition)
    noise = line(radial.noise(256, SIGMA), 0, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT])
    return write(folder / "radial.mrd", header or xml((SIZE, SIZE), trajectory="radial"), [noise, *lines])


@pytest.mark.parametrize("written", [as_hdf5, as_ismrmrd])
def test_every_file_of_a_scan_gives_the_same_scan(radial, npz, tmp_path, written):
    (expected,), (found,) = open_scan(npz), open_scan(written(radial, tmp_path))
    assert expected.kspace.shape == (4, 1, SPOKES * 2 * SIZE)
    assert expected.matrix == found.matrix == (SIZE, SIZE)
    assert found.kspace.equal(expected.kspace)
    assert torch.allclose(found.trajectory, expected.trajectory, atol=1e-5)
    assert torch.allclose(expected.trajectory, torch.from_numpy(radial.trajectory).reshape(-1, 2))


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({"trajectory": np.zeros((SPOKES, 2 * SIZE, 2), np.float32)}, "an eighth of the resolution"),
        ({"trajectory": np.full((SPOKES, 2 * SIZE, 2), 1.0)}, "an eighth of the resolution"),
        ({"trajectory": np.full((SPOKES, 2 * SIZE, 2), np.nan)}, "NaN or infinite positions"),
        ({"trajectory": np.full((SPOKES, 2 * SIZE, 2), 900.0)}, "half of the matrix"),
        ({"trajectory": np.full((SPOKES, 2 * SIZE, 2), np.pi)}, "radians"),
        ({"trajectory": np.ones((SPOKES, 5, 2))}, "does not fit"),
        ({"matrix": np.array([SIZE])}, "'matrix'"),
        ({"mask": np.ones((SPOKES, 2 * SIZE), bool)}, "or 'mask'"),
        ({"kspace": np.full((4, SPOKES, 2 * SIZE), np.nan, np.complex64)}, "k-space holds NaN"),
        ({"kspace": np.zeros((4, SPOKES, 2 * SIZE), np.complex64)}, "zero everywhere"),
        ({"kspace": np.ones((4, SPOKES, 2 * SIZE))}, "float64"),
    ],
)
def test_bad_arrays_are_refused_with_a_sentence(radial, tmp_path, change, because):
    arrays = {"kspace": radial.kspace, "trajectory": radial.trajectory, "matrix": np.array([SIZE, SIZE])} | change
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=because):
        open_scan(tmp_path / "bad.npz")[0]


@pytest.mark.parametrize("space", ["reconSpace", "encodedSpace"])
def test_pixels_are_those_of_the_encoded_space(radial, tmp_path, space):
    """An interpolated image has finer pixels over its field of view; an oversampled readout, the same over twice it."""
    header = xml((SIZE, SIZE), trajectory="radial").decode()
    start = header.index(f"<{space}>")
    tail = header[start:].replace(f"<x>{SIZE}</x><y>{SIZE}</y>", f"<x>{2 * SIZE}</x><y>{2 * SIZE}</y>", 1)
    if space == "encodedSpace":
        tail = tail.replace(f"<x>{2 * SIZE}</x><y>{3 * SIZE}</y>", f"<x>{4 * SIZE}</x><y>{6 * SIZE}</y>", 1)
    (scan,) = open_scan(as_ismrmrd(radial, tmp_path, (header[:start] + tail).encode()))
    assert scan.matrix == (SIZE, SIZE)
    assert torch.allclose(scan.trajectory, torch.from_numpy(radial.trajectory).reshape(-1, 2), atol=1e-5)


def test_a_third_number_of_a_position_is_a_weight_or_refused(radial, tmp_path):
    (scan,) = open_scan(as_ismrmrd(radial, tmp_path, third=0.3))
    assert scan.trajectory.shape == (SPOKES * 2 * SIZE, 2)
    (tmp_path / "radial.mrd").unlink()
    with pytest.raises(DataError, match="three directions"):
        open_scan(as_ismrmrd(radial, tmp_path, third=-0.3))[0]


def test_a_trajectory_that_is_not_written_is_missed(radial, tmp_path):
    lines = [line(radial.kspace[:, spoke], spoke) for spoke in range(SPOKES)]
    path = write(tmp_path / "radial.mrd", xml((SIZE, SIZE), trajectory="radial"), lines)
    with pytest.raises(DataError, match="do not say where they measured"):
        open_scan(path)


# --- calibration ----------------------------------------------------------------------------------------------------


def test_calibration_finds_noise_scale_and_maps(radial, npz):
    found = calibrate(open_scan(npz)[0])
    assert found.report["noise"]["sigma"] == pytest.approx(SIGMA, rel=0.03)
    likeness = np.abs((found.maps.numpy().conj() * radial.maps).sum(0))
    assert np.median(likeness[np.abs(radial.image) > 0.3]) > 0.998
    assert found.scale == pytest.approx(float(np.percentile(np.abs(radial.image), 99)), rel=0.1)
    gridded = found.operator.approximate_image(found.kspace[None])[0, 0] * found.scale
    assert psnr(gridded, radial.image) > 25


def test_a_noise_scan_gives_the_noise(radial, tmp_path):
    (scan,) = open_scan(write_npz(tmp_path / "a.npz", radial, noise=radial.noise(4096, 0.05)))
    found = calibrate(scan)
    assert found.report["noise"]["source"] == "scan"
    assert found.report["noise"]["sigma"] == pytest.approx(0.05, rel=0.03)


def test_noise_that_no_image_explains_is_the_noise():
    """Without signal, so that nothing but the noise can be found."""
    trajectory = radial_trajectory(SPOKES, 2 * SIZE, SIZE).float()
    noise = torch.from_numpy(white((4, 1, len(trajectory)), 0.7, seed=9))
    assert residual_noise(noise, trajectory, (SIZE, SIZE)).sigma == pytest.approx(0.7, rel=0.03)


def test_cells_are_covered_where_spokes_lie_close():
    covered = covered_cells(radial_trajectory(SPOKES, 2 * SIZE, SIZE), (SIZE, SIZE))
    centre = covered[SIZE // 2 - 5 : SIZE // 2 + 5, SIZE // 2 - 5 : SIZE // 2 + 5]
    assert centre.all()
    assert not covered[0, 0]
    assert covered.float().mean() < 0.8


def test_what_does_not_go_off_the_grid_is_refused(npz):
    source = open_scan(npz)
    with pytest.raises(DataError, match="no readout"):
        calibrate(source[0], CalibrationSettings(virtual_coils=2, compression="geometric"))
    with pytest.raises(DataError, match="no background"):
        calibrate(source[0], CalibrationSettings(noise="background"))
    with pytest.raises(ProtocolError, match="not trained on"):
        MeasurementDataset(source, MultiCoilFourierSettings(acceleration=2, acs_lines=4, mask="file").build(), 0)[0]


# --- reconstruction -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["zero_filled", "cg_sense", "l1_wavelet"])
def test_a_radial_scan_is_reconstructed(radial, npz, tmp_path, method):
    assert main(["-", str(npz), "--method", method, "--out", str(tmp_path / "out")]) == 0
    assert (
        psnr(image_of(tmp_path / "out"), radial.image) > {"zero_filled": 25, "cg_sense": 28, "l1_wavelet": 36}[method]
    )
    with pytest.raises(DataError, match="undersampled already"):
        main(["-", str(npz), "--acceleration", "2", "--out", str(tmp_path / "none")])


@pytest.mark.parametrize("kind", ["a_dps", "student_pnp"])
def test_a_prior_of_cartesian_scans_serves_a_radial_one(npz, kind):
    """It is shown images as in training, with the coil maps of the scan, whatever the scan's own operator is."""
    measurement = calibrate(open_scan(npz)[0]).measurement("radial")
    solver = SOLVERS[kind](samples=2).build(ambient_prior(SIZE, sigma_init=2.5))
    found = solver(measurement, generator_for(0, "test"))
    assert found.samples.shape == (2, 1, SIZE, SIZE)
    assert found.residual.explains


def difference_to_sigpy(path, radial, weight):
    """Return the PSNR of our L1-wavelet minus that of sigpy's: same data, maps and objective.

    Ours is in scaled units and of cells that count once, which λ undoes.
    """
    scan = replace(open_scan(path)[0], maps=torch.from_numpy(radial.maps))
    calibrated = calibrate(scan, CalibrationSettings(whiten=False))
    solver = L1WaveletSettings(regularisation=weight, wavelet="db4", random_shifts=False).build()
    ours = solver(calibrated.measurement("radial"), generator_for(0, "test")).mean[0] * calibrated.scale
    theirs = sigpy.mri.app.L1WaveletRecon(
        radial.kspace.reshape(len(radial.maps), -1),
        radial.maps,
        weight * calibrated.scale / float(calibrated.operator.factor[0]) ** 2,
        coord=radial.trajectory.reshape(-1, 2),
        max_iter=100,
        show_pbar=False,
    ).run()
    return psnr(ours, radial.image) - psnr(theirs, radial.image)


@pytest.mark.parametrize("weight", [0.01, 0.03])
def test_l1_wavelet_is_as_good_as_sigpys_at_the_same_weight(radial, npz, weight):
    assert abs(difference_to_sigpy(npz, radial, weight)) < 0.3


def test_so_it_is_on_a_real_complex_image(shared_data, tmp_path):
    with h5py.File(shared_data / "mri_complex_images/complex_images.h5") as file:
        image = file["knee_l1_288x236"][112:176, 86:150]
    radial = radial_scan((image / np.percentile(np.abs(image), 99)).astype(np.complex64), 32, 4, SIGMA)
    assert abs(difference_to_sigpy(write_npz(tmp_path / "knee.npz", radial), radial, 0.003)) < 0.3


@pytest.mark.parametrize("method", ["zero_filled", "cg_sense", "l1_wavelet"])
def test_a_scan_sampled_in_both_directions_is_reconstructed(tmp_path, method):
    """A Poisson-disk-like mask in y and x, as of a plane of two phase encodings."""
    image, maps = phantom(SIZE), birdcage(4, SIZE)
    mask = np.random.default_rng(1).random((SIZE, SIZE)) < 0.5
    mask[SIZE // 2 - 8 : SIZE // 2 + 8, SIZE // 2 - 8 : SIZE // 2 + 8] = True
    kspace = fft2c(torch.from_numpy(maps * image)).numpy() + white((4, SIZE, SIZE), SIGMA, seed=2)
    np.savez(tmp_path / "plane.npz", kspace=kspace, mask=mask)  # what the mask leaves out must not be looked at
    assert main(["-", str(tmp_path / "plane.npz"), "--method", method, "--out", str(tmp_path / "out")]) == 0
    assert psnr(image_of(tmp_path / "out"), image) > {"zero_filled": 24, "cg_sense": 28, "l1_wavelet": 30}[method]
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["volumes"][0]
    assert figures["calibration_of_first_slice"]["sampling"]["sampled"] == int(mask.sum())
    with pytest.raises(DataError, match="undersampled already"):
        main(["-", str(tmp_path / "plane.npz"), "--acceleration", "2", "--out", str(tmp_path / "none")])
