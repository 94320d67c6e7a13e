"""Every corruption can be asked for in a protocol, with each objective that fits it: a dry run on tiny data."""

import json

import numpy as np
import pytest
import torch

from rsd_med.base.command import run_command
from rsd_med.sample import main as sample
from rsd_med.train import main

PROTOCOL = """
schema_version: 1
name: tiny
data: {{kind: arrays, root: {images}, range: [-1, 1]}}
corruption: {corruption}
backbone: {{kind: monai_unet, channels: [8], attention: [false]}}
teacher: {{objective: {{kind: {objective}}}, images: 8, batch_size: 4}}
student: {{images: 8, batch_size: 4}}
evaluation: {{num_samples: 16, samplers: [{{kind: heun, steps: 3}}]}}
engine: {{device: cpu}}
"""
TRIALS = [
    ("{kind: blur, sigma: 0.2}", "ambient_tweedie"),
    ("{kind: blur}", "denoising"),
    ("{kind: motion_blur}", "denoising"),
    ("{kind: super_resolution, sigma: 0.1}", "ambient_tweedie"),
    ("{kind: super_resolution, factor: 4}", "denoising"),
    ("{kind: inpainting, missing: 0.6}", "denoising"),
    ("{kind: inpainting, missing: 0.2, shape: block, sigma: 0.1}", "denoising"),
    ("{kind: inpainting, missing: 0.6, sigma: 0.1}", "ambient_masked"),
    ("{kind: inpainting, missing: 0.2, shape: block}", "ambient_masked"),
    ("{kind: none}", "creative"),
    ("{kind: sparse_view, views: 6, sinogram_noise: 0.01}", "denoising"),
    ("{kind: poisson, peak: 30}", "denoising"),
    ("{kind: rician, noise: 0.1}", "denoising"),
]


def attempt(folder, corruption, objective, *options):
    torch.set_num_threads(1)
    images = folder / "images.npy"
    np.save(images, np.random.default_rng(0).uniform(-1, 1, (24, 16, 16)).astype(np.float32))
    protocol = folder / "tiny.yaml"
    protocol.write_text(PROTOCOL.format(images=images, corruption=corruption, objective=objective))
    return run_command(lambda: main([str(protocol), "--run-dir", str(folder / "run"), *options]))


@pytest.mark.parametrize(("corruption", "objective"), TRIALS, ids=[trial[0].strip("{}") for trial in TRIALS])
def test_both_stages_take_a_step(tmp_path, capsys, corruption, objective):
    assert attempt(tmp_path, corruption, objective, "--dry-run") == 0, capsys.readouterr().err
    assert "student: batch 4" in capsys.readouterr().out


def test_a_run_on_images_with_missing_pixels_is_trained_measured_and_drawn_from(tmp_path, capsys):
    assert attempt(tmp_path, "{kind: inpainting, missing: 0.6}", "ambient_masked", "--quiet") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["student"]["proximal_fd"] > 0
    assert metrics["teacher"]["heun"]["proximal_fd"] > 0
    for model, sampler in (("student", "heun"), ("teacher", "heun"), ("teacher", "guided"), ("teacher", "ancestral")):
        out = tmp_path / f"{model}_{sampler}"
        given = [str(tmp_path / "run"), "--num", "3", "--from", model, "--steps", "3", "--sampler", sampler]
        given += ["--out", str(out)]
        assert run_command(lambda given=given: sample(given)) == 0, capsys.readouterr().err
        images = np.load(out / "samples.npy")
        assert images.shape == (3, 1, 16, 16)
        assert np.isfinite(images).all()


@pytest.mark.parametrize("corruption", ["{kind: poisson, peak: 30}", "{kind: rician, noise: 0.1}", "{kind: blur}"])
def test_ambient_tweedie_refuses_what_has_no_white_noise_of_known_sigma(tmp_path, capsys, corruption):
    assert attempt(tmp_path, corruption, "ambient_tweedie", "--dry-run") == 2
    assert "sigma is 0" in capsys.readouterr().err
