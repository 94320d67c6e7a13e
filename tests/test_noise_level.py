"""`sigma: estimate` from protocol to report: resolved once from the measurements alone, and kept by the run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from rsd_med.base.command import run_command
from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.blur import BlurSettings
from rsd_med.corruptions.noise import NoiseSettings
from rsd_med.corruptions.noise_level import LevelFound
from rsd_med.corruptions.rician import RicianSettings
from rsd_med.estimates import with_estimates
from rsd_med.experiment import Experiment
from rsd_med.protocol import dump_protocol, load_protocol
from rsd_med.train import main

PROTOCOL = """
schema_version: 1
name: tiny
seed: 4
data: {{kind: arrays, root: images.npy, range: {range}}}
corruption: {corruption}
backbone: {{kind: monai_unet, channels: [8], attention: [false]}}
teacher: {{objective: {{kind: {objective}}}, images: 8, batch_size: 4, evaluate_samples: 4}}
student: {{images: 8, batch_size: 4, evaluate_samples: 4}}
evaluation: {{num_samples: 4, monitor_images: 8, samplers: [{{kind: heun, steps: 2}}]{reference}}}
engine: {{device: cpu}}
"""
STUDY = "{kind: noise, sigma: estimate, simulated_sigma: 0.2}"
FILES = "{kind: noise, sigma: estimate, simulate: false}"


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def clean_images(count: int = 300, size: int = 24) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    drawn = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 2, 1, 1))
    return np.where((x - drawn[:, 0]) ** 2 + (y - drawn[:, 1]) ** 2 < 0.3, 0.6, -0.6).astype(np.float32)


def write(folder, corruption, images, objective="ambient_tweedie", limits="[-3, 3]", reference="") -> Path:
    np.save(folder / "images.npy", images)
    protocol = folder / "tiny.yaml"
    protocol.write_text(PROTOCOL.format(corruption=corruption, objective=objective, range=limits, reference=reference))
    return protocol


def resolved(protocol, begun=None) -> Experiment:
    return with_estimates(Experiment(load_protocol(protocol), protocol.parent), begun)


def noisy_images(sigma=0.3):
    images = clean_images()
    return (images + sigma * np.random.default_rng(1).standard_normal(images.shape)).astype(np.float32)


def test_files_that_carry_noise_tell_its_level_in_scaled_units(tmp_path):
    experiment = resolved(write(tmp_path, FILES, noisy_images(0.3)))  # [-3, 3] becomes [-1, 1]
    assert experiment.corruption.sigma == pytest.approx(0.1, rel=0.02)
    assert experiment.dataset[0].sigma.item() == pytest.approx(experiment.corruption.sigma)
    assert torch.equal(experiment.dataset[0].data[0], experiment.dataset.source[0].image)
    estimated = experiment.protocol.corruption.estimated
    assert estimated.images == 300
    assert 0 < estimated.error < 0.005


@pytest.mark.parametrize("kind", ["noise", "blur, side: 5", "motion_blur, side: 5, longest: 4"])
def test_a_study_simulates_one_level_and_finds_it_again(tmp_path, kind):
    corruption = f"{{kind: {kind}, sigma: estimate, simulated_sigma: 0.2}}"
    experiment = resolved(write(tmp_path, corruption, clean_images()))
    assert experiment.corruption.sigma == pytest.approx(0.2, rel=0.02)


def test_the_noise_behind_magnitudes_is_found(tmp_path):
    corruption = "{kind: rician, noise: estimate, simulated_sigma: 0.2}"
    images = (clean_images() > 0).astype(np.complex64)
    protocol = write(tmp_path, corruption, images, objective="denoising")
    protocol.write_text(protocol.read_text().replace(", range: [-3, 3]", ", scale: 1.0"))
    experiment = resolved(protocol)
    assert experiment.corruption.noise == pytest.approx(0.2, rel=0.05)
    assert experiment.corruption.sigma == 0


@pytest.mark.parametrize("percentiles", ["[0, 99.5]", "[0, 100]"])
def test_the_noise_of_magnitudes_in_nifti_files_is_found(tmp_path, percentiles):
    """As a user has them: unsigned integers, black at 0 of the file and at -1 of the images."""
    nibabel = pytest.importorskip("nibabel")
    draws = np.random.default_rng(0)
    clean = 400.0 * (clean_images(60, 48) > 0)
    noise = 20 * (draws.standard_normal(clean.shape) + 1j * draws.standard_normal(clean.shape))
    magnitude = np.abs(clean + noise).round().astype(np.uint16)
    nibabel.save(nibabel.Nifti1Image(magnitude.transpose(1, 2, 0), np.eye(4)), tmp_path / "head.nii.gz")
    protocol = write(tmp_path, "{kind: rician, noise: estimate, simulate: false}", magnitude, objective="denoising")
    arrays = "{kind: arrays, root: images.npy, range: [-3, 3]}"
    assert arrays in protocol.read_text()
    nifti = f"{{kind: nifti, root: head.nii.gz, percentiles: {percentiles}}}"
    protocol.write_text(protocol.read_text().replace(arrays, nifti))
    white = np.percentile(magnitude, 99.5 if "99.5" in percentiles else 100)
    assert resolved(protocol).corruption.noise == pytest.approx(20 * 2 / white, rel=0.05)


def test_training_is_told_one_level_and_the_data_have_another():
    """For studies of a wrong level: the measurement claims 0.1, and generated images get 0.1, but its noise is 0.4."""
    image = torch.zeros(1, 200, 200)
    for settings in (
        NoiseSettings(sigma=0.1, simulated_sigma=0.4),
        BlurSettings(sigma=0.1, simulated_sigma=0.4),
    ):
        corruption = settings.build()
        measurement = corruption.measure_image(image, "a", Draws().manual_seed(0))
        assert measurement.data.std().item() == pytest.approx(0.4, rel=0.02)
        assert measurement.sigma.item() == pytest.approx(0.1)
        generated = corruption.corrupt(image[None], measurement, Draws().manual_seed(0))
        assert generated.data.std().item() == pytest.approx(0.1, rel=0.02)
    magnitude = RicianSettings(noise=0.1, simulated_sigma=0.4, black=0).build()
    measured = magnitude.measure_image(image, "a", Draws().manual_seed(0)).data
    assert measured.square().mean().item() == pytest.approx(2 * 0.4**2, rel=0.02)


def test_without_a_second_level_the_noise_is_what_it_was():
    image = torch.zeros(1, 8, 8)
    one, other = (
        settings.build().measure_image(image, "a", Draws().manual_seed(0)).data
        for settings in (NoiseSettings(sigma=0.2), NoiseSettings(sigma=0.5, simulated_sigma=0.2))
    )
    assert torch.equal(one, other)


def test_clean_references_have_no_say(tmp_path):
    """Replaced by random numbers, they leave the estimate bit-identical."""
    reference = ", reference: {kind: arrays, root: reference.npy, range: [-3, 3]}"
    protocol = write(tmp_path, FILES, noisy_images(), reference=reference)
    found = []
    for values in (clean_images(), np.random.default_rng(7).uniform(-1, 1, (40, 24, 24)).astype(np.float32)):
        np.save(tmp_path / "reference.npy", values)
        found.append(resolved(protocol).protocol.corruption)
    assert found[0] == found[1]


def test_a_resumed_run_takes_its_own_level_bit_for_bit(tmp_path):
    protocol = write(tmp_path, FILES, noisy_images())
    begun = resolved(protocol).protocol
    kept = tmp_path / "kept.yaml"
    kept.write_text(dump_protocol(begun))
    np.save(tmp_path / "images.npy", 2 * noisy_images(0.2))  # what is there now has no say
    assert resolved(protocol, load_protocol(kept)).protocol == begun


@pytest.mark.parametrize(
    ("corruption", "images", "code", "sentence"),
    [
        (FILES, np.zeros((40, 24, 24)), 3, "too few places"),
        (FILES, noisy_images()[:1], 3, "1 images"),
        ("{kind: noise, sigma: estimate, simulated_sigma: 0}", np.linspace(-1, 1, 24**2).reshape(1, 24, 24)
         * np.linspace(0.1, 1, 40)[:, None, None], 3, "no noise"),
        ("{kind: noise, sigma: estimate}", noisy_images(), 2, "set simulate: false where the files carry it"),
        ("{kind: blur, sigma: estimate}", noisy_images(), 2, "state simulated_sigma"),
        ("{kind: noise, sigma: 0.1, simulate: false, simulated_sigma: 0.2}", noisy_images(), 2, "drop one of them"),
        ("{kind: noise, sigma: guess}", noisy_images(), 2, "corruption.sigma: must be a number or 'estimate'"),
        ("{kind: inpainting, missing: 0.5, sigma: estimate}", noisy_images(), 2, "corruption.sigma: must be a number"),
    ],
    ids=["constant", "one image", "no noise", "nothing to look at", "blur", "both", "a guess", "inpainting"],
)  # fmt: skip
def test_bad_cases_end_with_one_sentence(tmp_path, capsys, corruption, images, code, sentence):
    protocol = write(tmp_path, corruption, images.astype(np.float32))
    assert run_command(lambda: main([str(protocol), "--run-dir", str(tmp_path / "run"), "--quiet"])) == code
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert not (tmp_path / "run" / "protocol.resolved.yaml").exists()


def test_an_unresolved_level_is_no_number():
    with pytest.raises(ProtocolError, match="has not been estimated yet"):
        NoiseSettings(sigma="estimate", simulate=False).build()


def test_a_run_writes_its_level_everywhere_and_goes_on_with_it(tmp_path, capsys):
    protocol, folder = write(tmp_path, STUDY, clean_images()), tmp_path / "run"
    assert main([str(protocol), "--run-dir", str(folder)]) == 0
    log = (folder / "log.txt").read_text()
    stored = load_protocol(folder / "protocol.resolved.yaml")
    level = stored.corruption.sigma
    assert level == pytest.approx(0.2, rel=0.02)
    sentence = f"σ estimated at {level:.4f} ± "
    assert sentence in log
    assert "from 300 images" in log
    assert sentence in (folder / "model_card.md").read_text()
    assert sentence in (folder / "report.html").read_text()
    metrics = json.loads((folder / "metrics.json").read_text())["noise_level"]
    assert metrics["sigma"] == level
    assert metrics["images"] == 300

    # Another level in the folder, as if this version estimated a little differently from the one that began the run.
    other = stored.corruption.assuming(0.1 + 1e-15, LevelFound(error=0.001, images=77))
    (folder / "protocol.resolved.yaml").write_text(dump_protocol(stored.model_copy(update={"corruption": other})))
    assert main([str(protocol), "--run-dir", str(folder), "--quiet"]) == 0
    assert load_protocol(folder / "protocol.resolved.yaml").corruption == other
    assert json.loads((folder / "metrics.json").read_text())["noise_level"]["sigma"] == 0.1 + 1e-15
    with pytest.raises(ProtocolError, match="begun with another protocol"):
        main([str(protocol), "--run-dir", str(folder), "--set", "corruption.simulated_sigma=0.3"])


def test_the_dry_run_says_it_too(tmp_path, capsys):
    protocol = write(tmp_path, STUDY, clean_images())
    assert main([str(protocol), "--run-dir", str(tmp_path / "run"), "--dry-run"]) == 0
    assert "noise: σ estimated at 0." in capsys.readouterr().out
    assert not (tmp_path / "run").exists()
