"""A run passed on: what is written, that it is opened again, and what is said about it."""

import json
import sys

import numpy as np
import pytest
import torch
import yaml

from rsd_med import export, sample
from rsd_med.base.command import run_command
from rsd_med.diffusion.backbones import MonaiUNetSettings
from rsd_med.prior import load_prior
from tests.apps.tiny_run import make_tiny_run

LICENCE = ("--licence", "Our terms: ask first")


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return make_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def hub(run_folder):
    out = run_folder.parent / "hub_out"
    assert (
        carry_out(run_folder, "--out", out, "--form", "hub", *LICENCE, "--conditions", "3", "--dataset", "us/knees")
        == 0
    )
    return out / "hub"


def carry_out(*words):
    return run_command(lambda: export.main([str(word) for word in words]))


def samples(folder, out, *options):
    arguments = [str(folder), "--num", "3", "--out", str(out), *options]
    assert run_command(lambda: sample.main(arguments)) == 0
    return np.load(out / "samples.npy")


def test_a_hubs_folder_stands_where_a_run_does(run_folder, hub, tmp_path):
    assert {path.name for path in hub.iterdir()} == {
        "LICENSE", "README.md", "config.json", "protocol.resolved.yaml", "sampling_operators.safetensors",
        "student.safetensors", "teacher.safetensors",
    }  # fmt: skip
    teacher = ("--from", "teacher", "--steps", "2")
    for options in ((), teacher):
        drawn = [samples(folder, tmp_path / f"{folder.name}{len(options)}", *options) for folder in (run_folder, hub)]
        assert drawn[0].shape == drawn[1].shape == (3, 2, 16, 16)
    prior = load_prior(hub, "student")
    assert prior.size == (16, 16)
    ours = load_prior(run_folder, "student").denoiser.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in prior.denoiser.state_dict().items())


def test_a_card_tells_hubs_the_licence_and_the_data(hub, run_folder):
    _, front, body = (hub / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["license"] == "other"
    assert metadata["license_name"] == LICENCE[1]
    assert metadata["library_name"] == "rsd_med"
    assert metadata["datasets"] == ["us/knees"]
    assert "medical-imaging" in metadata["tags"]
    assert "## How to use it" in body
    assert LICENCE[1] in body
    assert LICENCE[1] in (hub / "LICENSE").read_text(encoding="utf-8")
    config = json.loads((hub / "config.json").read_text(encoding="utf-8"))
    assert config["networks"]["student"]["images"] == 32
    assert config["size"] == [16, 16]


def test_no_path_leaves_with_a_model(tmp_path):
    folder = make_tiny_run(tmp_path / "secret" / "tiny", stages=("student",))
    text = (folder / "protocol.resolved.yaml").read_text(encoding="utf-8")
    named = text.replace(
        "calibration: {noise: none}", "calibration: {noise: none, maps: {cache_dir: /home/alice/maps}}"
    )
    (folder / "protocol.resolved.yaml").write_text(named, encoding="utf-8")
    command = {"command": "python -m rsd_med.train /home/alice/p.yaml --run-dir /home/alice/run"}
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    (folder / "metrics.json").write_text(json.dumps(figures | command), encoding="utf-8")
    assert carry_out(folder, "--out", tmp_path / "out", "--form", "hub", *LICENCE) == 0
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file() and path.suffix != ".safetensors":
            assert "alice" not in path.read_text(encoding="utf-8"), path.name
            assert "secret" not in path.read_text(encoding="utf-8"), path.name


@pytest.mark.filterwarnings("ignore:parsing config_file", "ignore:`torch.jit.load` is deprecated")
def test_a_bundle_runs_with_monai(run_folder, tmp_path, monkeypatch, capsys):
    from monai.bundle import run
    from monai.networks.nets import DiffusionModelUNet

    # Our networks come without the rest of MONAI. Here all of it is needed, and they are its own all the same.
    assert type(MonaiUNetSettings().build(1, 1).net) is DiffusionModelUNet
    out = tmp_path / "out"
    assert carry_out(run_folder, "--out", out, "--form", "bundle", "--network", "student", "--licence", "unknown") == 0
    said = capsys.readouterr().err
    assert "licence is unknown" in said
    assert "outline of each body" in said
    bundle = out / "bundle"
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    inputs = metadata["network_data_format"]["inputs"]
    assert list(inputs) == ["z", "mask", "coil_maps"]
    assert inputs["z"]["num_channels"] == 2
    assert inputs["mask"]["spatial_shape"] == [16, 16]
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    assert "| takes | `coil_maps` | (batch, 2, coil, 16, 16) float32 |" in card
    assert "license: unknown" in card
    monkeypatch.setattr(sys, "path", list(sys.path))
    run(config_file=str(bundle / "configs" / "inference.json"), bundle_root=str(bundle), num=3, seed=7, device="cpu")
    drawn = np.load(bundle / "samples" / "samples.npy")
    for name in [name for name in sys.modules if name.partition(".")[0] == "scripts"]:
        monkeypatch.delitem(sys.modules, name)
    generator = torch.Generator().manual_seed(7)
    z = torch.randn(3, 2, 16, 16, generator=generator)
    conditions = torch.load(bundle / "models" / "conditions.pt", weights_only=True)
    chosen = torch.randint(16, (3,), generator=generator)
    scripted = torch.jit.load(bundle / "models" / "student.ts")
    expected = scripted(z, *(tensor[chosen] for tensor in conditions.values()))
    assert np.allclose(drawn, expected.numpy(), atol=1e-5)


def test_what_cannot_be_passed_on_is_said_and_leaves_nothing(run_folder, hub, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    cases = {
        "--licence": ([run_folder, "--out", out], 2),
        "is there already": ([run_folder, "--out", tmp_path, *LICENCE], 2),
        "--conditions": ([run_folder, "--out", out, *LICENCE, "--conditions", "0"], 2),
        "no run folder": ([tmp_path, "--out", out, *LICENCE, "--form", "hub"], 3),
    }
    for sentence, (words, code) in cases.items():
        assert carry_out(*words) == code
        said = capsys.readouterr().err
        assert sentence in said
        assert said.count("\n") == 1
    assert not out.exists()


def test_an_export_that_is_stopped_leaves_nothing_and_one_that_was_killed_until_the_next(
    run_folder, tmp_path, monkeypatch, capsys
):
    def stopped(package, experiment, conditions, folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    (tmp_path / ".writing-01234567-out" / "hub").mkdir(parents=True)
    monkeypatch.setattr("rsd_med.sharing.hub.write_hub_folder", stopped)
    assert carry_out(run_folder, "--out", tmp_path / "out", "--form", "hub", *LICENCE) == 75
    assert "interrupted" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_damaged_folder_is_named(hub, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(hub, copy)
    weights = (copy / "student.safetensors").read_bytes()
    (copy / "student.safetensors").write_bytes(weights[:-1] + b"\x00" + weights[-1:])
    arguments = [str(copy), "--num", "1", "--out", str(tmp_path / "samples")]
    assert run_command(lambda: sample.main(arguments)) == 3
    assert "student.safetensors is not the file that config.json speaks of" in capsys.readouterr().err
    (copy / "config.json").write_text("{}")
    assert run_command(lambda: sample.main(arguments)) == 3
    assert "config.json is damaged" in capsys.readouterr().err
