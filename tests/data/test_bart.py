"""BART's files: what BART itself writes and reads is the witness, where it is installed."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.base.notices import forget_what_was_said
from rsd_med.data.cfl import read_cfl_maps
from rsd_med.data.opening import open_scan
from rsd_med.data.writing.cfl import CflWriter

from .conftest import complex_noise

needs_bart = pytest.mark.skipif(shutil.which("bart") is None, reason="BART is not installed")


def write(path, array):
    """Write as BART's manual says: sizes in a text file, numbers with the first axis fastest."""
    sizes = " ".join(map(str, array.shape))
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{sizes} \n# Command\nphantom -k out\n")
    path.write_bytes(array.astype("<c8").tobytes(order="F"))
    return path


def bart(folder, *arguments):
    done = subprocess.run(["bart", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


def test_slices_columns_and_volumes_come_out_in_their_places(tmp_path):
    array = complex_noise(16, 12, 1, 3, 1, 2, 1, 1, 1, 1, 1, 1, 1, 4)  # two echoes of four slices
    array[:, 1::2] = 0
    write(tmp_path / "scan.cfl", array)
    for name in ("scan.cfl", "scan.hdr", "scan", "."):
        source = open_scan(tmp_path / name)
        assert source.stacks() == (range(4), range(4, 8))
    scan = source[4 + 2]
    assert (scan.id, source.shape(6)) == ("scan_v001_002", (3, 16, 12))
    wanted = np.moveaxis(array[:, :, 0, :, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2], 2, 0)
    assert np.array_equal(scan.kspace, wanted)
    assert scan.acquired.tolist() == [True, False] * 6
    assert scan.sampled is None
    assert scan.readout is None


def test_a_plane_of_two_phase_encodings_keeps_its_mask_and_is_said(tmp_path, caplog):
    array = complex_noise(1, 16, 12, 3)
    mask = np.arange(16)[:, None] * 5 % 3 != np.arange(12) % 3
    array *= mask[None, :, :, None]
    forget_what_was_said()
    (scan,) = open_scan(write(tmp_path / "scan.cfl", array))
    assert np.array_equal(scan.sampled, mask)
    assert np.array_equal(scan.kspace, np.moveaxis(array[0], -1, 0))
    assert "plane of two phase encodings, 16 × 12" in caplog.text


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-8]), "1528 bytes and its header asks for 1536"),
        (lambda path: path.with_suffix(".hdr").unlink(), r"scan\.hdr: the header with the sizes is missing"),
        (lambda path: path.with_suffix(".hdr").write_text("# Dimensions\n-4 4\n"), "no header of BART's"),
        (lambda path: write(path, complex_noise(8, 6, 4, 2)), "three-dimensional"),
        (lambda path: write(path, complex_noise(8, 6, 1, 2, 2)), "coil maps or an image of several sets"),
        (lambda path: write(path, np.full((8, 6, 1, 2), np.nan)), "NaN"),
        (lambda path: write(path, np.zeros((8, 6, 1, 2))), "zero everywhere"),
        (lambda path: write(path, complex_noise(8, 1, 1, 2)), "no slices of k-space"),
    ],
)
def test_what_is_damaged_is_one_sentence(tmp_path, damage, sentence):
    damage(write(tmp_path / "scan.cfl", complex_noise(8, 6, 1, 4)))
    with pytest.raises(DataError, match=sentence):
        open_scan(tmp_path / "scan.cfl")[0]


def test_maps_and_images_return_as_they_were_written(tmp_path):
    maps, image = (torch.from_numpy(complex_noise(*shape)) for shape in ((3, 2, 4, 8, 6), (3, 8, 6)))
    for name, slices in (("maps", maps), ("image", image)):
        with CflWriter(tmp_path / f"{name}.cfl") as file:
            for one in slices:
                file.add(one)
    assert np.array_equal(read_cfl_maps(tmp_path / "maps"), maps)
    assert np.array_equal(torch.stack([scan.kspace[0] for scan in open_scan(tmp_path / "image")]), image)
    with pytest.raises(ZeroDivisionError), CflWriter(tmp_path / "broken.cfl") as file:
        file.add(1 / 0)
    assert {path.name for path in tmp_path.iterdir()} == {"maps.cfl", "maps.hdr", "image.cfl", "image.hdr"}


@needs_bart
def test_bart_and_we_read_each_other(tmp_path):
    bart(tmp_path, "phantom", "-k", "-x", "32", "-s", "4", "k")
    bart(tmp_path, "fft", "-u", "-i", "3", "k", "coils")
    bart(tmp_path, "rss", "8", "coils", "theirs")
    bart(tmp_path, "ecalib", "-m", "1", "-r", "20", "k", "maps")
    (scan,), maps = open_scan(tmp_path / "k"), read_cfl_maps(tmp_path / "maps")
    from rsd_med.operators.fourier import ifft2c

    coils = ifft2c(scan.kspace)
    with CflWriter(tmp_path / "ours.cfl") as file:
        file.add(coils.abs().square().sum(0).sqrt().to(torch.complex64))
    assert float(bart(tmp_path, "nrmse", "theirs", "ours")) < 1e-6
    assert maps.shape == (1, 1, 4, 32, 32)
    inside = np.abs(maps[0, 0]).sum(0) > 0
    explained = (maps[0, 0].conj() * coils.numpy()).sum(0) * maps[0, 0]
    assert np.linalg.norm((explained - coils.numpy())[:, inside]) < 0.1 * np.linalg.norm(coils.numpy()[:, inside])
