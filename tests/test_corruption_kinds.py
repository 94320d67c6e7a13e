"""Every corruption with every objective: a dry run on tiny data trains both stages, or refuses in one sentence."""

import json

import numpy as np
import pytest
import torch

from rsd_med.base.command import run_command
from rsd_med.corruptions.kinds import CORRUPTIONS
from rsd_med.sample import main as sample
from rsd_med.train import main

PROTOCOL = """
schema_version: 1
name: tiny
data: {{kind: arrays, root: {images}{values}}}
corruption: {corruption}
backbone: {{kind: monai_unet, channels: [8], attention: [false]}}
teacher: {{objective: {{kind: {objective}}}, images: 8, batch_size: 4}}
student: {{images: 8, batch_size: 4}}
evaluation: {{num_samples: 16, samplers: [{{kind: heun, steps: 3}}]}}
engine: {{device: cpu}}
"""

OBJECTIVES = ("denoising", "ambient_tweedie", "ambient_masked", "ambient_fourier")
DENOISING = {"denoising"}
TWEEDIE, MASKED, FOURIER = ({"denoising", objective} for objective in OBJECTIVES[1:])
FITS = {
    "{kind: none}": {"denoising", "creative"},
    "{kind: noise, sigma: 0.2}": TWEEDIE,
    "{kind: blur, sigma: 0.2}": TWEEDIE,
    "{kind: blur}": DENOISING,
    "{kind: motion_blur, sigma: 0.2}": TWEEDIE,
    "{kind: super_resolution, sigma: 0.1}": TWEEDIE,
    "{kind: super_resolution, factor: 4}": DENOISING,
    "{kind: inpainting, missing: 0.6}": MASKED,
    "{kind: inpainting, missing: 0.2, shape: block, sigma: 0.1}": MASKED,
    "{kind: sparse_view, views: 6, sinogram_noise: 0.01}": DENOISING,
    "{kind: poisson, peak: 30}": DENOISING,
    "{kind: rician, noise: 0.1}": DENOISING,
    "{kind: kspace_motion, shots: 4, sigma: 0.1}": TWEEDIE,
    "{kind: kspace_motion, shots: 4, rotation: 10, order: interleaved}": DENOISING,
    "{kind: fourier, acceleration: 2, acs_lines: 4}": FOURIER,
    "{kind: fourier, acceleration: 2, acs_lines: 4, pattern: poisson_disk, sigma: 0.05}": FOURIER,
    "{kind: fourier, acceleration: 2, acs_lines: 4, pattern: radial}": FOURIER,
    "{kind: fourier, acceleration: 2, acs_lines: 4, pattern: variable_density}": FOURIER,
    "{kind: multicoil_fourier, acceleration: 2, acs_lines: 4, sigma: 0.05}": FOURIER,
    "{kind: multicoil_fourier, acceleration: 2, acs_lines: 4, pattern: poisson_disk}": FOURIER,
}
PAIRS = [(corruption, objective) for corruption in FITS for objective in OBJECTIVES]
PAIRS += [(corruption, "creative") for corruption in ("{kind: none}", "{kind: noise, sigma: 0.2}")]


def attempt(folder, corruption, objective, option="--dry-run", complex_images=False):
    torch.set_num_threads(1)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 24, 16, 16)).astype(np.float32)
    np.save(folder / "images.npy", images[0] + 1j * images[1] if complex_images else images[0])
    text = PROTOCOL.format(
        images=folder / "images.npy", values="" if complex_images else ", range: [-1, 1]", corruption=corruption,
        objective=objective,
    )  # fmt: skip
    if "multicoil" in corruption:
        text = text.replace(text.splitlines()[3], "data: {kind: knee_phantom, num_images: 16, size: 16, coils: 2}")
    (folder / "tiny.yaml").write_text(text)
    return run_command(lambda: main([str(folder / "tiny.yaml"), "--run-dir", str(folder / "run"), option]))


@pytest.mark.parametrize(("corruption", "objective"), PAIRS, ids=[f"{c.strip('{}')}-{o}" for c, o in PAIRS])
def test_both_stages_take_a_step_or_one_sentence_says_why_not(tmp_path, capsys, corruption, objective):
    code = attempt(tmp_path, corruption, objective)
    said = capsys.readouterr()
    if objective in FITS[corruption]:
        assert code == 0, said.err
        assert "student: batch 4" in said.out
    else:
        assert code == 2
        assert said.err.startswith(f"error: teacher.objective: {objective} ")
        assert said.err.count("\n") == 1


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


def test_every_kind_is_tried():
    assert set(CORRUPTIONS) == {corruption.strip("{}").split(",")[0].removeprefix("kind: ") for corruption in FITS}


@pytest.mark.parametrize(
    ("corruption", "objective"),
    [
        ("{kind: kspace_motion, shots: 4, rotation: 10, sigma: 0.1}", "ambient_tweedie"),
        ("{kind: fourier, acceleration: 2, acs_lines: 4}", "ambient_fourier"),
        ("{kind: blur, sigma: 0.2}", "ambient_tweedie"),
    ],
)
def test_complex_images_are_corrupted_as_such(tmp_path, capsys, corruption, objective):
    assert attempt(tmp_path, corruption, objective, complex_images=True) == 0, capsys.readouterr().err
    assert "2 image channels" in capsys.readouterr().out
