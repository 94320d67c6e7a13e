"""The simulate command: files that the reader understands, without what was not sampled, and never half of one."""

import errno
import subprocess
import sys
import time
from typing import get_args

import h5py
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med import simulate
from rsd_med.base.command import run_command
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.corruptions.multicoil_fourier import LinePattern
from rsd_med.data import simulation
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.operators.fourier import ifft2c


@pytest.fixture
def pictures():
    """Smooth discs, uint8, (5, 48, 40)."""
    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    discs = [np.where(y**2 + x**2 < 0.5 + 0.1 * n, 120 + 100 * np.cos(3 * x + n), 0) for n in range(5)]
    return np.stack(discs).astype(np.uint8)


@pytest.fixture
def run(tmp_path, pictures):
    """Simulate the pictures, or other images, to a folder and return it."""
    np.save(tmp_path / "pictures.npy", pictures)

    def run(*options, images="pictures.npy", out="out"):
        code = simulate.main([str(tmp_path / images), "--out", str(tmp_path / out), *map(str, options)])
        assert code == 0
        return tmp_path / out

    return run


# --- round trips ----------------------------------------------------------------------------------------------------


def test_a_fully_sampled_scan_gives_the_image_back(run, pictures):
    source = FastMRIHDF5(run("--fully-sampled", "--coils", 3))
    assert len(source) == 5
    for scan, picture in zip(source, pictures, strict=True):
        assert scan.acquired.all()
        assert torch.allclose(scan.maps.abs().square().sum(0), torch.ones(48, 40), atol=1e-5)
        image = (scan.maps.conj() * ifft2c(scan.kspace)).sum(0)
        assert np.allclose(image.abs().numpy(), picture / 255, atol=1e-5)
        assert image[24, 10:30].angle().std() > 0.01  # a phase of its own
        assert scan.geometry.spacing_mm == (1.0, 1.0)


def test_an_undersampled_file_is_what_a_scanner_would_leave(run):
    folder = run("--acceleration", 3, "--acs-lines", 6)
    with h5py.File(folder / "scan_00000.h5") as file:
        mask = file["mask"][()]
        assert mask.shape == (40,)
        assert mask.sum() == 13
        assert file.attrs["acceleration"] == 3
        assert file.attrs["num_low_frequency"] == 6
        assert not file["kspace"][()][..., ~mask].any()
        # Nothing that knows the fully sampled image.
        assert set(file) == {"kspace", "sensitivity_maps", "ismrmrd_header", "mask"}
        assert not {"max", "norm"} & set(file.attrs)
    scan = FastMRIHDF5(folder)[0]
    assert scan.acs_lines >= 6
    assert scan.acquired.tolist() == mask.tolist()


def test_undersampling_takes_lines_from_the_fully_sampled_scan(run):
    full = FastMRIHDF5(run("--fully-sampled", "--sigma", 0.01, out="full"))
    under = FastMRIHDF5(run("--sigma", 0.01, out="under"))
    for one, other in zip(full, under, strict=True):
        assert torch.equal(one.kspace * other.acquired, other.kspace)


def test_simulated_files_feed_training(run):
    corruption = MultiCoilFourierSettings(acceleration=4, acs_lines=4, mask="file").build()
    dataset = MeasurementDataset(FastMRIHDF5(run("--acceleration", 4, "--acs-lines", 4)), corruption, seed=0)
    batch = torch.cat([dataset[index].image() for index in range(5)])
    assert batch.shape == (5, 1, 48, 40)
    assert 0.3 < batch.abs().max() < 3


def test_the_same_command_gives_the_same_files(run):
    first, second, other = run(out="a"), run(out="b"), run("--seed", 1, out="c")
    assert (first / "scan_00000.h5").read_bytes() == (second / "scan_00000.h5").read_bytes()
    assert not torch.equal(FastMRIHDF5(first)[0].acquired, FastMRIHDF5(other)[0].acquired)


def test_noise_has_the_level_that_is_stated(run):
    clean, noisy = (
        FastMRIHDF5(run("--fully-sampled", out="a")),
        FastMRIHDF5(run("--fully-sampled", "--sigma", 0.05, out="b")),
    )
    noise = torch.view_as_real(noisy[0].kspace - clean[0].kspace)
    assert noise.std().item() == pytest.approx(0.05, rel=0.03)


def test_without_phase(run):
    scan = FastMRIHDF5(run("--fully-sampled", "--phase", "none", "--coils", 1))[0]
    assert ifft2c(scan.kspace).imag.abs().max() < 1e-5


def test_a_mask_for_every_slice(run):
    folder = run("--mask-per-slice", "--pattern", "equispaced")
    with h5py.File(folder / "scan_00000.h5") as file:
        masks = file["mask"][()]
    assert masks.shape == (5, 40)
    assert len(np.unique(masks, axis=0)) > 1
    assert [scan.acquired.tolist() for scan in FastMRIHDF5(folder)] == masks.tolist()


@pytest.mark.parametrize("pattern", simulate.PATTERNS)
def test_every_pattern_of_columns_can_be_simulated(run, pattern):
    acceleration = 1.25 if pattern == "partial_fourier" else 2.5
    folder = run("--pattern", pattern, "--acceleration", acceleration, "--acs-lines", 8)
    with h5py.File(folder / "scan_00000.h5") as file:
        assert 40 / file["mask"][()].sum() == pytest.approx(acceleration, rel=0.02)
        assert file.attrs["achieved_acceleration"] == pytest.approx(acceleration, rel=0.02)


def test_the_command_offers_every_pattern_of_columns():
    assert get_args(LinePattern) == simulate.PATTERNS


@pytest.mark.parametrize("options", [["--fully-sampled"], ["--with-reference"]])
def test_the_reference_is_the_root_sum_of_squares_of_everything(run, pictures, options):
    with h5py.File(run(*options) / "scan_00000.h5") as file:
        reference = file["reconstruction_rss"][()]
        assert file.attrs["max"] == pytest.approx(reference.max())
        assert file.attrs["norm"] == pytest.approx(np.linalg.norm(reference))
    assert np.allclose(reference, pictures / 255, atol=1e-5)


# --- images of every kind -------------------------------------------------------------------------------------------


def test_files_hold_the_slices_of_one_volume(run, pictures, tmp_path):
    np.savez(tmp_path / "set.npz", images=pictures, subject=np.array([7, 3, 7, 7, 3]))
    source = FastMRIHDF5(run("--group-key", "subject", "--slices-per-file", 2, images="set.npz"))
    ids = [source.id(index) for index in range(5)]
    assert ids == ["scan_00000_000", "scan_00000_001", "scan_00001_000", "scan_00002_000", "scan_00002_001"]


def test_volumes_are_held_out_whole(run, pictures, tmp_path):
    np.savez(tmp_path / "set.npz", images=pictures, subject=np.array([0, 0, 1, 1, 2]))
    folder = run("--group-key", "subject", "--split-volumes", 1, images="set.npz")
    names = {part: sorted(path.name for path in (folder / part).iterdir()) for part in ("train", "val")}
    assert len(names["val"]) == 1
    assert len(names["train"]) == 2
    assert not set(names["val"]) & set(names["train"])


def test_arrays_of_floats_and_of_complex_numbers(run, pictures, tmp_path):
    np.save(tmp_path / "floats.npy", (pictures / 51).astype(np.float32))
    run("--range", 0, 5, "--limit", 2, images="floats.npy", out="floats")
    phase = np.exp(1j * np.linspace(0, 2, 40)).astype(np.complex64)
    np.save(tmp_path / "complex.npy", pictures * phase)
    scan = FastMRIHDF5(run("--fully-sampled", "--coils", 1, images="complex.npy", out="complex"))[0]
    image = ifft2c(scan.kspace)[0, 24]
    assert torch.allclose((image[8:32] * torch.from_numpy(phase[8:32]).conj()).angle(), torch.zeros(24), atol=1e-3)


def test_nifti_volumes_keep_their_spacing_and_not_their_names(run, tmp_path):
    volume = np.random.default_rng(0).random((24, 20, 6)).astype(np.float32)
    volume[..., 2] = 0
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([2.0, 3.0, 4.0, 1.0])), tmp_path / "Jane_Doe.nii.gz")
    folder = run("--slices", 4, images="Jane_Doe.nii.gz")
    source = FastMRIHDF5(folder)
    assert len(source) == 3  # the black slice has nothing to scan
    assert source.shape(0) == (4, 24, 20)
    assert source[0].geometry.spacing_mm == pytest.approx((2.0, 3.0))
    assert b"Doe" not in b"".join(path.read_bytes() for path in folder.iterdir())


def test_folders_of_images_of_several_sizes(run, pictures, tmp_path):
    (tmp_path / "folder").mkdir()
    for number, picture in enumerate(pictures):
        cut = picture[:40] if number > 2 else picture
        Image.fromarray(cut).save(tmp_path / "folder" / f"{number}.png")
    source = FastMRIHDF5(run(images="folder"))
    assert [source.shape(index)[1:] for index in range(5)] == [(48, 40)] * 3 + [(40, 40)] * 2
    assert FastMRIHDF5(run("--size", 32, images="folder", out="small")).shape(4) == (4, 32, 32)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "because"),
    [
        (["--acceleration", "8", "--acs-lines", "20"], "--acceleration, --acs-lines"),
        (["--acs-lines", "99"], "--acs-lines"),
        (["--fully-sampled", "--acs-lines", "4"], "--fully-sampled"),
        (["--slices", "4"], "--slices"),
        (["--split-volumes", "1"], "--split-volumes"),
    ],
)
def test_options_that_do_not_go_together(run, options, because):
    with pytest.raises(ProtocolError, match=because):
        run(*options)


@pytest.mark.parametrize("options", [["--coils", "0"], ["--acceleration", "0.5"], ["--sigma", "nan"], ["--size", "x"]])
def test_numbers_that_make_no_sense(run, options, capsys):
    with pytest.raises(SystemExit) as caught:
        run(*options)
    assert caught.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_folder_with_scans_is_not_added_to(run):
    run()
    with pytest.raises(ProtocolError, match="already"):
        run()


@pytest.mark.parametrize("name", ["nowhere.npy", "nowhere", "scan.h5"])
def test_images_that_are_not_there(run, tmp_path, name):
    (tmp_path / "scan.h5").write_bytes(b"")
    with pytest.raises(DataError):
        run(images=name)


def test_images_with_colours(run, tmp_path):
    np.save(tmp_path / "colours.npy", np.ones((2, 16, 16, 3), np.uint8))
    with pytest.raises(DataError, match="3 channels"):
        run(images="colours.npy")


def test_black_images_alone(run, tmp_path):
    np.save(tmp_path / "black.npy", np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(DataError, match="black"):
        run(images="black.npy")


def test_groups_that_are_not_there(run, pictures, tmp_path):
    np.savez(tmp_path / "set.npz", images=pictures, subject=np.zeros(3))
    for key in ("subject", "patient", "images"):
        with pytest.raises(DataError, match="--group-key"):
            run("--group-key", key, images="set.npz")


# --- a full disk ----------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_whole_files_only(tmp_path, pictures, monkeypatch, capsys):
    np.save(tmp_path / "pictures.npy", pictures)
    original = simulation.Scanner.scan

    def scan(self, image, name, number):
        if name == "scan_00001":
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, image, name, number)

    monkeypatch.setattr(simulation.Scanner, "scan", scan)
    arguments = [str(tmp_path / "pictures.npy"), "--out", str(tmp_path / "out"), "--slices-per-file", "2"]
    assert run_command(lambda: simulate.main(arguments)) == 75
    assert "no space left" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["scan_00000.h5"]


# --- the command itself ---------------------------------------------------------------------------------------------


def test_help_is_quick_and_the_command_light():
    seconds = []
    for _ in range(2):  # the better of two: the machine may be busy
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "rsd_med.simulate", "--help"], capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - start)
    assert "--acceleration" in done.stdout
    assert min(seconds) < 1
    loaded = subprocess.run(
        [sys.executable, "-c", "import sys, rsd_med.simulate; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "numpy", "h5py", "pydantic"} & set(loaded.stdout.split())
