"""Every protocol that comes along, dry-run on tiny data in the formats of the real ones."""

import io
import json
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from rsd_med.base.command import run_command
from rsd_med.data import cifar10
from rsd_med.data.simulation import Scanner, write_scans
from rsd_med.operators.masks import further_lines
from rsd_med.protocol import load_protocol
from rsd_med.train import main

FOLDER = Path(__file__).parents[1] / "protocols"
PROTOCOLS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TINY = ["teacher.batch_size=2", "student.batch_size=2", "engine.device=cpu"]
NARROW = {
    "ddpmpp": ["backbone.features=8", "backbone.residual_blocks=1"],
    "monai_unet": ["backbone.channels=[8, 8]", "backbone.attention=[false, false]"],
    "patch_unet": ["backbone.channels=[8, 8]", "backbone.attention=[false, false]"],
}
PUBLISHED = {
    "cifar10_noise0.1", "cifar10_noise0.2", "cifar10_noise0.4", "cifar10_inpaint0.6", "cifar10_inpaint0.8",
    "ffhq64_noise0.2", "afhqv2_noise0.2", "celebahq64_noise0.2", "celebahq64_blur", "celebahq64_blur_noise0.2",
    "celebahq64_sr2", "celebahq64_inpaint0.6", "celebahq64_inpaint0.8", "celebahq64_inpaint0.9",
    *(f"{part}_R{acceleration}" for part in ("brain", "knee") for acceleration in (2, 4, 6, 8)),
}  # fmt: skip


def pixels(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    """The real formats with next to nothing in them, by the variable that a protocol reads."""
    root = tmp_path_factory.mktemp("formats")
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for number, image in enumerate(pixels(6, 64)):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            archive.writestr(f"00000/img{number:08d}.png", buffer.getvalue())
        archive.writestr("dataset.json", json.dumps({"labels": None}))
    batches = root / cifar10.FOLDER
    batches.mkdir()
    for name in (*cifar10.FILES["train"], *cifar10.FILES["test"]):
        records = np.zeros((2, cifar10.RECORD), np.uint8)
        records[:, 1:] = pixels(2, 32).transpose(0, 3, 1, 2).reshape(2, -1)
        records.tofile(batches / name)
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 320), indexing="ij")
    disc = ((rows**2 + columns**2) < 0.6).float() * (1 + 0.3 * rows)
    (root / "scans").mkdir()
    write_scans(root / "scans" / "one.h5", [disc] * 3, Scanner(coils=2, acceleration=None), (1.0, 1.0))
    (root / "volumes").mkdir()
    volume = np.random.default_rng(1).random((24, 24, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), root / "volumes" / "one.nii.gz")
    scans, images = root / "scans", root / "images.zip"
    return {
        "CIFAR10": root, "FFHQ64": images, "CELEBAHQ64": images, "AFHQV2_64": images,
        "FASTMRI_BRAIN": scans, "FASTMRI_KNEE": scans, "NIFTI_ROOT": root / "volumes",
    }  # fmt: skip


@pytest.fixture
def dry_run(formats, monkeypatch, capsys):
    """Dry-run a protocol on the tiny data; what it prints."""
    torch.set_num_threads(1)
    monkeypatch.setattr(cifar10, "IMAGES_PER_FILE", 2)
    for name, path in formats.items():
        monkeypatch.setenv(name, str(path))

    def run(name, *overrides):
        arguments = [str(FOLDER / f"{name}.yaml"), "--dry-run"]
        for override in (*TINY, *overrides):
            arguments += ["--set", override]
        code = run_command(lambda: main(arguments))
        shown = capsys.readouterr()
        return code, shown.out + shown.err

    return run


def test_the_published_experiments_are_all_here():
    assert PUBLISHED | {"quickstart", "nifti_noise", "nifti_small"} == set(PROTOCOLS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_dry_runs(dry_run, name):
    protocol = load_protocol(FOLDER / f"{name}.yaml")
    overrides = list(NARROW[protocol.backbone.kind])
    if name == "quickstart":
        overrides += ["data.num_images=6", "evaluation.reference.num_images=6"]
    code, shown = dry_run(name, *overrides)
    assert code == 0, shown
    assert f"protocol {name}: valid" in shown


@pytest.mark.timeout(600)  # half a minute alone; many times that beside other work
def test_a_published_network_dry_runs_as_it_is(dry_run):
    code, shown = dry_run("cifar10_noise0.2", "teacher.batch_size=1", "student.batch_size=1")
    assert code == 0, shown
    assert "55,733,891 parameters each" in shown


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_protocols_state_the_published_settings(name):
    """The published settings once more, apart from the files."""
    protocol = load_protocol(FOLDER / f"{name}.yaml")
    data = name.split("_")[0]
    student, teacher = protocol.student, protocol.teacher
    found = (
        student.loss.alpha, student.batch_size, student.fake.learning_rate, student.generator.learning_rate,
        student.generator.betas[0], student.fake.betas[0], student.generator.epsilon, protocol.backbone.multipliers,
    )  # fmt: skip
    # The authors' ε (1e-6, CIFAR-10 1e-8) for a generator's loss times 100 is a hundredth of it for ours.
    natural64 = ((1.2, 512, 1e-5, 1e-5, 0.9, 0.0, 1e-8), (1, 2, 2, 2))
    (*wanted,), multipliers = {
        "cifar10": ((1.2, 256, 1e-5, 1e-5, 0.0, 0.0, 1e-10), (2, 2, 2)),
        "ffhq64": natural64,
        "celebahq64": natural64,
        "afhqv2": ((1.0, 512, 5e-6, 5e-6, 0.0, 0.0, 1e-8), (1, 2, 2, 2)),
        "brain": ((1.2, 24, 5e-6, 1e-6, 0.0, 0.0, 1e-8), (1, 1, 1, 1)),
        "knee": ((1.2, 24, 5e-6, 1e-6, 0.0, 0.0, 1e-8), (1, 1, 1, 1)),
    }[data]
    assert found == (*wanted, multipliers)
    loss = student.loss
    assert (loss.kind, loss.t_min, loss.t_max, loss.from_data_sigma, student.sigma_init) == ("sid", 0, 0.8, False, 2.5)
    assert student.clip == (
        data in ("brain", "knee")
    )  # the papers clip nothing, and nothing of complex images is clipped
    assert student.ema.half_life == 500_000
    assert student.generator.max_gradient_norm is None
    if protocol.teacher.objective.kind in ("ambient_fourier", "ambient_masked"):
        assert protocol.diffusion.hidden_std == 0
    assert teacher.optimiser.betas == (0.9, 0.999)
    masked = "inpaint" in name
    assert protocol.backbone.gated == (masked or data in ("brain", "knee"))
    if data in ("brain", "knee"):
        acceleration = int(name[-1])
        assert protocol.corruption.acceleration == acceleration
        assert (protocol.corruption.acs_lines, protocol.corruption.further_lines) == (20, None)
        assert further_lines(320, acceleration) == {2: 54, 4: 16, 6: 8, 8: 5}[acceleration]
        assert (teacher.batch_size, teacher.optimiser.learning_rate, protocol.backbone.dropout) == (8, 2e-4, 0.1)
        assert protocol.augmentation is None
        assert student.fake.max_gradient_norm == 1.0
        return
    assert protocol.augmentation.probability == (0.12 if data == "cifar10" else 0.15)
    dropout = {"cifar10": 0.13, "ffhq64": 0.05, "celebahq64": 0.15, "afhqv2": 0.25}[data]
    rate, batch = (1e-4, 512) if data == "cifar10" and not masked else (2e-4, 256)
    assert (teacher.optimiser.learning_rate, teacher.batch_size) == (rate, batch)
    assert protocol.backbone.dropout == (0.1 if masked else dropout)
    assert student.fake.max_gradient_norm == (1.0 if masked else None)
    corruption = protocol.corruption.model_dump()
    if masked:
        assert (corruption["missing"], corruption["delta"]) == (float(name.split("inpaint")[1]), 0.1)
        assert teacher.objective.kind == "ambient_masked"
    elif "noise" in name:
        assert corruption["sigma"] == float(name.split("noise")[1])
        assert teacher.objective.kind == "ambient_tweedie"
    else:
        assert corruption["sigma"] == 0
        assert teacher.objective.kind == "denoising"


def test_augmentation_needs_a_network_that_can_be_told(dry_run):
    code, shown = dry_run("nifti_noise", *NARROW["monai_unet"], "augmentation={probability: 0.1}")
    assert code == 2
    assert "a monai_unet cannot be told how images were augmented" in shown


def test_augmentation_is_refused_for_k_space(dry_run):
    code, shown = dry_run("brain_R4", *NARROW["ddpmpp"], "augmentation={probability: 0.1}")
    assert code == 2
    assert "only images can be turned" in shown
