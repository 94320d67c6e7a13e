"""The reconstructor's stage: what it sees, how it begins, and the command from raw files to images."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.diffusion.backbones.patch_unet import PatchUNetSettings
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.diffusion.unrolled import CONTEXT, LEVEL, UnrolledNetwork
from rsd_med.export import main as export
from rsd_med.operators.channels import to_channels
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.reconstruct import main as reconstruct
from rsd_med.simulate import main as simulate
from rsd_med.teachers.ambient_fourier import mask_context
from rsd_med.train import main as train
from rsd_med.training.reconstructor_stage import ReconstructorSettings, ReconstructorStage
from tests.operators.contracts import random_maps

SIDE, ITEMS = 16, 4
SMALL = PatchUNetSettings(channels=(16,), attention=(False,))
CORRUPTION = MultiCoilFourierSettings(acceleration=2, acs_lines=4).build()


def measurement() -> Measurement:
    generator = torch.Generator().manual_seed(0)
    maps = random_maps((ITEMS, 2, SIDE, SIDE), torch.complex64, seed=1)
    image = torch.randn(ITEMS, 1, SIDE, SIDE, dtype=torch.complex64, generator=generator)
    whole = MultiCoilFourier(torch.ones(ITEMS, 1, 1, SIDE, dtype=torch.bool), maps)
    like = Measurement(
        whole(image), whole, torch.full((ITEMS,), 0.02), torch.ones(ITEMS), tuple(f"item {i}" for i in range(ITEMS))
    )
    operator = CORRUPTION.draw(like, generator_for(0, "mask"))
    return replace(like, data=operator(image), operator=operator)


def unrolled(seed: int = 0, dropout: float = 0.0) -> UnrolledNetwork:
    draws = generator_for(seed, "weights")
    backbone = SMALL.model_copy(update={"dropout": dropout})
    network = UnrolledNetwork(build_denoiser(backbone, DiffusionSettings(hidden_std=0.1), 2, CONTEXT, draws), turns=2)
    for parameter in network.parameters():  # the last layers are zero at first, and would hide everything
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return network


def stage(**options: object) -> ReconstructorStage:
    settings = ReconstructorSettings(images=8, start="fresh", **options)
    return ReconstructorStage(settings, unrolled(), CORRUPTION, measurement(), 0)


def draws() -> Draws:
    return generator_for(0, "step")


def test_what_was_not_measured_changes_nothing():
    one = stage()
    scan = measurement()
    score, images = one.score(one.network, scan, draws())
    noise = torch.randn(scan.data.shape, dtype=torch.complex64) * 100
    peeked = replace(scan, data=scan.data + noise.masked_fill(scan.operator.entries(scan.data), 0))
    again, others = one.score(one.network, peeked, draws())
    assert torch.equal(score, again)
    assert torch.equal(images, others)


def test_images_do_not_depend_on_the_lines_that_are_scored():
    one, scan = stage(), measurement()
    _, images = one.score(one.network, scan, draws())
    hidden = [~one_mask for one_mask in _shown(one, scan)]
    changed = scan.data.clone()
    for item, mask in enumerate(hidden):
        changed[item] += torch.randn(changed.shape[1:], dtype=torch.complex64).masked_fill(~mask, 0)
    score, same = one.score(one.network, replace(scan, data=changed), draws())
    assert torch.equal(images, same)
    assert not torch.equal(score, one.score(one.network, scan, draws())[0])


def _shown(one: ReconstructorStage, scan: Measurement) -> torch.Tensor:
    """Return the masks that the stage shows, ``(b, 1, 1, x)``."""
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, measurement, noise):
            seen.append(measurement.operator.entries(measurement.data))
            return one.network(measurement, noise)

    one.score(Spy(), scan, draws())
    return seen[0]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_in_parts_as_in_the_whole_while_it_learns(dropout):
    one, scan = stage(), measurement()
    network, own = unrolled(dropout=dropout), draws()
    whole, _ = one.score(network.learning(own), scan, own)
    for part in range(2):
        own = draws()
        with own.part(part, 2, 2):
            score, _ = one.score(network.learning(own), scan[2 * part : 2 * part + 2], own)
        torch.testing.assert_close(score, whole[2 * part : 2 * part + 2], rtol=1e-5, atol=1e-6)


def test_draws_of_one_scan_share_what_was_measured_and_differ_elsewhere():
    scan = replace(measurement(), sigma=torch.zeros(ITEMS))
    noise = torch.randn(ITEMS, 3, LATENTS, SIDE, SIDE)
    network = unrolled()
    with torch.no_grad():
        network.guess_error.floor.fill_(-1.2)  # the data steps believe the data alone
        images = network(scan, noise)
    assert images.shape == (ITEMS, 3, 1, SIDE, SIDE)
    for item in range(ITEMS):
        one = scan[item : item + 1]
        for image in images[item]:
            misfit = (one.operator(image[None]) - one.data).norm() / one.data.norm()
            assert float(misfit) < 0.05
    assert float((images[:, 0] - images[:, 1]).abs().mean()) > 1e-3


def test_turns_before_the_last_are_fewer_while_it_learns_and_pass_no_gradients(monkeypatch):
    network, asked = unrolled(), []
    guess = UnrolledNetwork._guess

    def counting(self, image, scan):
        asked.append((len(image), torch.is_grad_enabled()))
        return guess(self, image, scan)

    monkeypatch.setattr(UnrolledNetwork, "_guess", counting)
    scan, noise = measurement(), torch.randn(ITEMS, 2, LATENTS, SIDE, SIDE)
    network(scan, noise)
    assert asked == [(ITEMS, True), (ITEMS, True)]  # once a turn, however many draws there are
    before = []
    for number in range(8):
        asked.clear()
        network.learning(generator_for(number, "turns"))(scan, noise)
        *silent, last = asked
        assert last == (ITEMS, True)
        assert all(not gradients for _, gradients in silent)
        before.append(sum(items for items, _ in silent))
    assert 0.3 < sum(before) / (8 * ITEMS) < 0.7  # of each item, one turn or none


def test_pairs_are_the_draws_themselves():
    network, scan = unrolled(), measurement()
    noise = torch.randn(ITEMS, 2, LATENTS, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.guess_error.floor.fill_(-0.1)  # few iterations solve it
        estimate, gaps = network.pairs(scan, noise)
        torch.testing.assert_close(estimate, network(scan, torch.zeros_like(noise[:, :1])), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(estimate + gaps, network(scan, noise), rtol=1e-3, atol=1e-4)
        drawn = network.draw(scan, noise)
        torch.testing.assert_close((drawn[:, 0::2] + drawn[:, 1::2]) / 2, estimate.expand_as(gaps))


def test_a_teacher_is_the_first_estimate():
    teacher = build_denoiser(SMALL, DiffusionSettings(hidden_std=0.1), 2, 1, generator_for(3, "weights"))
    for parameter in teacher.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3))
    network, scan = unrolled(), measurement()
    network.start_from(teacher.state_dict())
    operator = scan.operator
    shown = to_channels(operator.H(scan.data))
    expected = teacher(shown, torch.full((ITEMS,), LEVEL), mask_context(operator))
    context = torch.cat(
        [mask_context(operator), torch.randn(ITEMS, 2, SIDE, SIDE), torch.zeros(ITEMS, 1, SIDE, SIDE)], 1
    )
    torch.testing.assert_close(network.denoiser(shown, torch.full((ITEMS,), LEVEL), context), expected)
    other = build_denoiser(
        PatchUNetSettings(channels=(32,), attention=(False,)), DiffusionSettings(), 2, 1, generator_for(3, "weights")
    )
    with pytest.raises(ValueError, match="shape"):
        network.start_from(other.state_dict())


def test_from_raw_files_to_images(tmp_path, capsys):
    pictures = torch.rand(12, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    np.save(tmp_path / "images.npy", pictures)
    shape = ["--size", str(SIDE), "--coils", "2"]
    mask = ["--acceleration", "2", "--acs-lines", "4", "--mask-per-slice"]
    assert simulate([str(tmp_path / "images.npy"), "--out", str(tmp_path / "train"), *shape, *mask]) == 0
    assert simulate([str(tmp_path / "images.npy"), "--out", str(tmp_path / "test"), *shape, "--fully-sampled"]) == 0
    np.save(tmp_path / "tall.npy", np.concatenate([pictures[:4]] * 2, 1))
    assert simulate([str(tmp_path / "tall.npy"), "--out", str(tmp_path / "own"), *shape[2:], *mask]) == 0
    protocol = {
        "schema_version": 1,
        "name": "tiny",
        "data": {"kind": "fastmri_hdf5", "root": str(tmp_path / "train")},
        "calibration": {"noise": "none"},
        "corruption": {"kind": "multicoil_fourier", "mask": "file", "acceleration": 2, "acs_lines": 4},
        "backbone": {"kind": "patch_unet", "channels": [16], "attention": [False]},
        "teacher": {"objective": {"kind": "ambient_fourier"}, "images": 8, "batch_size": 4},
        "student": {"images": 8, "batch_size": 4},
        "reconstructor": {"images": 8, "evaluate_samples": 4},
        "evaluation": {
            "num_samples": 12,
            "monitor_images": 12,
            "reference": {"kind": "fastmri_hdf5", "root": str(tmp_path / "test")},
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(protocol))
    run = tmp_path / "run"
    base = [str(tmp_path / "tiny.yaml"), "--run-dir", str(run), "--stage", "reconstructor"]
    with pytest.raises(Exception, match="holds no teacher checkpoint"):
        train(base)
    with pytest.raises(Exception, match="nowhere"):
        train([*base, "--set", "reconstructor.start=fresh", "--set", f"reconstructor.root={tmp_path / 'nowhere'}"])
    assert not run.exists()
    own = ["--set", f"reconstructor.root={tmp_path / 'own'}", "--set", f"reconstructor.rows={SIDE - 4}"]
    fresh = [*base, *own, "--set", "reconstructor.start=fresh"]
    assert train([*fresh, "--dry-run", "--device-memory", "1"]) == 0
    shown = capsys.readouterr().out
    assert "reconstructor: batch 4" in shown
    assert "(teacher + student + reconstructor, evaluations included)" in shown
    assert train(fresh) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert set(metrics["reconstruction"]) == {"reconstructor", "l1_wavelet", "zero_filled"}
    assert metrics["reconstruction"]["reconstructor"]["psnr"] > metrics["reconstruction"]["zero_filled"]["psnr"] - 3
    before = (run / "metrics.jsonl").read_text()
    assert train(fresh) == 0, "a finished stage is not trained again"
    assert (run / "metrics.jsonl").read_text() == before
    with pytest.raises(Exception, match="has trained its reconstructor first"):
        train([*base[:-1], "teacher", *fresh[len(base) :]])
    scan = next((tmp_path / "test").glob("*.h5"))
    out = tmp_path / "out"
    assert reconstruct([str(run), str(scan), "--acceleration", "2", "--acs-lines", "4", "--out", str(out)]) == 0
    written = json.loads((out / "metrics.json").read_text())
    assert written["method"] == "reconstructor"
    assert (out / "std.nii.gz").exists()
    assert "How well are scans reconstructed?" in (run / "report.html").read_text()
    shared = tmp_path / "shared"
    assert export([str(run), "--form", "hub", "--licence", "CC-BY-4.0", "--out", str(shared)]) == 0
    again = tmp_path / "again"
    asked = [str(scan), "--acceleration", "2", "--acs-lines", "4", "--out", str(again)]
    assert reconstruct([str(shared / "hub"), *asked]) == 0
    assert (again / "mean.nii.gz").read_bytes() == (out / "mean.nii.gz").read_bytes()
