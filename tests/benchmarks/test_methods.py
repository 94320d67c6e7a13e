"""The table of methods in its smallest form: methods run once and are kept; EM samples the exact posterior."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import common
from benchmarks.methods import __main__ as command
from benchmarks.methods import data, figure, outcome, table
from benchmarks.methods.bench import Bench
from benchmarks.methods.budget import QUICK
from benchmarks.methods.expectation import posterior_samples, train_by_expectation
from benchmarks.methods.methods import METHODS, applies
from benchmarks.methods.tasks import TASKS
from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import Identity


@pytest.fixture
def blobs(tmp_path, monkeypatch):
    """Let every task of pictures be one of bright squares, and results go elsewhere."""

    def load(name: str, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.zeros(256, 1, 32, 32, dtype=torch.uint8)
        for number in range(len(images)):
            row, column = divmod(number % 64, 8)
            images[number, :, 2 * row : 2 * row + 12, 2 * column : 2 * column + 12] = 255
        return images, torch.arange(len(images)) % 10

    monkeypatch.setattr(data, "load_pictures", load)
    small = replace(QUICK, teacher_images=32, student_images=32, gan_images=32, lap_images=32, samples=64)
    monkeypatch.setattr(command, "QUICK", small)
    monkeypatch.setattr(outcome, "TIMED_BATCHES", 1)
    for module in (common, figure, table):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return tmp_path


@pytest.mark.timeout(300)
def test_methods_are_measured_once_and_tabled(blobs, monkeypatch, capsys):
    chosen = ["teacher_truncated", "sid", "ambient_gan"]
    told = ["--quick", "--tasks", "noise0.4", "--seeds", "0", "--run-dir", str(blobs / "runs"), "--methods", *chosen]
    assert command.main(told) in (0, 1)
    printed, complaints = capsys.readouterr()
    assert "error" not in complaints
    for name in ("floor", *chosen):
        assert f"| {name} |" in printed
    content = json.loads((blobs / "results" / "methods-quick.json").read_text())
    assert any(line["name"] == "noise0.4: student / teacher's best" for line in content["figures"])
    rows = content["rows"]["noise0.4"]
    assert rows["sid"][0]["network_calls"] == 1
    assert rows["sid"][0]["num_samples"] == 64
    assert rows["teacher_truncated"][0]["network_calls"] > 10
    assert (blobs / "results" / "methods-quick-noise0.4.png").stat().st_size > 1000

    for name in chosen:
        monkeypatch.setitem(METHODS, name, lambda bench: pytest.fail("measured twice"))
    assert command.main(told) in (0, 1)
    assert command.main([*told, "--report"]) in (0, 1)


def test_expectation_maximisation_goes_from_measurements_to_a_prior(blobs):
    bench = Bench(TASKS["inpaint0.6"], 0, command.QUICK, blobs / "run", blobs / "data")
    experiment, prior, images, names = train_by_expectation(bench)
    assert names == ["em_start", "em_1"]
    assert images == 32
    assert experiment.dataset[0].data.shape == bench.own.dataset[0].data.shape
    assert all(parameter.isfinite().all() for parameter in prior.parameters())


def test_what_makes_no_sense_is_left_out(tmp_path):
    def bench(task: str) -> Bench:
        return Bench(TASKS[task], 0, QUICK, tmp_path, tmp_path)

    assert applies("teacher_truncated", bench("noise0.2"))
    assert not applies("teacher_truncated", bench("sr2"))
    assert applies("l1_wavelet_edm", bench("mri_R4"))
    assert not applies("l1_wavelet_edm", bench("sr2"))


class GaussianPrior:
    """The exact denoiser of white Gaussian images."""

    sigma_data = 0.5

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        variance = self.sigma_data**2
        return x * (variance / (variance + sigma.square())).reshape(-1, 1, 1, 1)


def test_the_posterior_of_a_gaussian_prior_is_met():
    prior, std, sigma, count = GaussianPrior(), GaussianPrior.sigma_data, 0.3, 4096
    generator = Draws().manual_seed(0)
    measured = torch.full((count, 1, 2, 2), 0.4)
    measurement = Measurement(measured, Identity(), torch.full((count,), sigma), torch.ones(count), ("item",) * count)
    drawn = posterior_samples(prior, measurement, generator, steps=200)
    share = std**2 / (std**2 + sigma**2)
    assert drawn.mean() == pytest.approx(0.4 * share, abs=0.01)
    assert drawn.std() == pytest.approx(std * (1 - share) ** 0.5, rel=0.05)
