"""The examples of the documentation run, and show what their text says."""

import runpy
from pathlib import Path

import numpy as np

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_own_scans_become_samples(tmp_path):
    samples = np.load(example("train_on_own_scans")["main"](tmp_path))
    assert samples.shape == (4, 2, 32, 32)
    assert np.isfinite(samples).all()
    assert (tmp_path / "run" / "report.html").is_file()

    # What is drawn from Python is what the command has drawn.
    library = example("use_as_library")
    images, image = library["main"](tmp_path / "run")
    np.testing.assert_allclose(images, samples[:, 0] + 1j * samples[:, 1], atol=1e-5)
    # An image comes back in the units of its array, however badly so small a run knows it.
    kspace, mask = library["scan_of_a_disc"]()
    tenfold = library["reconstruct"](tmp_path / "run", 10 * kspace, mask)
    assert image.shape == (32, 32)
    np.testing.assert_allclose(tenfold, 10 * image, rtol=0.01, atol=0.01 * np.abs(tenfold).max())


def test_a_scan_is_reconstructed_and_better_than_zero_filled(tmp_path):
    quality = example("reconstruct_a_scan")["main"](tmp_path)
    assert quality["l1_wavelet"] > quality["zero_filled"] + 1
    assert list(tmp_path.glob("l1_wavelet/png/*.png"))


def test_a_corruption_of_ones_own_is_learned_from():
    assert 0 < example("add_a_corruption")["main"]() < np.inf
