"""Weights of others: the same answers as by their own formulas, and nothing in their files is run."""

import json
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from rsd_med import import_weights, sample
from rsd_med.base.command import run_command
from rsd_med.diffusion.backbones.ddpmpp import DDPMPlusPlusSettings
from rsd_med.diffusion.denoiser import TrainingMode
from rsd_med.opened_run import newest_checkpoint, open_run
from rsd_med.runs.run_folder import RunFolder
from tests.foreign.song_unet import Layout, write_snapshot

PROTOCOL = """
schema_version: 1
name: theirs
data: {{kind: image_folder, root: nowhere}}
corruption: {corruption}
backbone: {{kind: ddpmpp, features: 8, multipliers: [1, 2], attention: [false, true], residual_blocks: 1{gated}}}
diffusion: {{hidden_std: auto, precision: float32}}
teacher: {{objective: {{kind: {objective}}}, images: 8, batch_size: 4}}
student: {{images: 8, batch_size: 4}}
"""
NOISE = {"corruption": "{kind: noise, sigma: 0.2}", "objective": "ambient_tweedie", "gated": ""}
HOLES = {
    "corruption": "{kind: inpainting, missing: 0.4}",
    "objective": "ambient_masked",
    "gated": ", gated: published",
}
LINES = {
    "corruption": "{kind: multicoil_fourier, acceleration: 2, acs_lines: 2}",
    "objective": "ambient_fourier",
    "gated": ", gated: published",
}


def bring_in(folder, file, protocol=NOISE, *options):
    """Run the command; return its exit code and the run folder."""
    path = folder / "theirs.yaml"
    path.write_text(PROTOCOL.format(**protocol))
    arguments = [str(file), str(path), "--run-dir", str(folder / "run"), *options]
    return run_command(lambda: import_weights.main(arguments)), RunFolder(folder / "run")


def load(run, stage, channels):
    experiment = open_run(run)
    experiment.__dict__["channels"] = channels  # of complex images the data would tell it
    return experiment.load_network(newest_checkpoint(run, stage), stage)


def masks(batch, side):
    return (torch.rand(batch, 1, side, side, generator=torch.Generator().manual_seed(1)) < 0.6).float()


CASES = {"images": (NOISE, 3, 3), "masked colours": (HOLES, 6, 6), "masked complex": (LINES, 4, 4)}


@pytest.mark.parametrize(("protocol", "inputs", "outputs"), CASES.values(), ids=CASES)
def test_the_answers_are_those_of_their_formulas(tmp_path, protocol, inputs, outputs):
    layout = Layout(inputs, outputs, gated=protocol is not NOISE)
    write_snapshot(tmp_path / "network-snapshot-000001.pkl", layout)
    code, run = bring_in(tmp_path, tmp_path / "network-snapshot-000001.pkl", protocol)
    assert code == 0
    channels = inputs if protocol is NOISE else inputs // 2
    ours = load(run, "teacher", channels)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, channels, 8, 8, generator=generator)
    sigma = torch.tensor([0.002, 0.3, 2.5, 80.0])
    augmentation = torch.randn(4, 9, generator=generator)
    context, shown = None, x
    if protocol is not NOISE:
        context = masks(4, 8)
        beside = [context, torch.ones_like(context)] if protocol is LINES else [context] * channels
        shown = torch.cat([x, *beside], dim=1)
    expected = layout.denoise(shown, sigma)[:, :channels]
    assert (ours(x, sigma, context) - expected).abs().max() < 1e-6 * expected.abs().max()
    ours.training_mode = TrainingMode(None, augmentation)
    ours.network.dropout_masks = lambda *_: []
    expected = layout.denoise(shown, sigma, augmentation)[:, :channels]
    assert (ours(x, sigma, context) - expected).abs().max() < 1e-6 * expected.abs().max()


@pytest.mark.parametrize(
    ("multipliers", "attends", "gated", "inputs", "outputs", "published", "unused"),
    [
        ((2, 2, 2), 1, False, 3, 3, 55_733_891, 0),
        ((1, 2, 2, 2), 1, False, 3, 3, 61_805_571, 0),
        # Their answers to the mask's channels are thrown away, and their mask is there once for each colour.
        ((1, 1, 1, 1), None, "published", 3, 2, 36_769_796, 2 * (2 * 9 * 128 + 1)),
        ((1, 2, 2, 2), 1, "published", 4, 3, 118_088_966, 3 * (2 * 9 * 128 + 1) + 2 * 9 * 128),
    ],
    ids=["CIFAR-10", "FFHQ", "brains", "masked CelebA"],
)
def test_published_networks_have_as_many_weights(multipliers, attends, gated, inputs, outputs, published, unused):
    attention = tuple(level == attends for level in range(len(multipliers)))
    settings = DDPMPlusPlusSettings(multipliers=multipliers, attention=attention, gated=gated)
    with torch.device("meta"):
        weights = settings.build(inputs, outputs).parameters()
    assert sum(weight.numel() for weight in weights) == published - unused


def test_a_students_state_dict_is_sampled_at_once(tmp_path):
    layout = Layout(3, 3)
    weights = {f"module.model.{name}": tensor.contiguous() for name, tensor in layout.tensors.items()}
    save_file(weights, tmp_path / "sid.safetensors")
    torch.save({"G_ema": weights}, tmp_path / "sid.pt")
    for name in ("sid.safetensors", "sid.pt"):
        folder = tmp_path / name.replace(".", "_")
        folder.mkdir()
        code, run = bring_in(folder, tmp_path / name, NOISE, "--as", "student", "--images", "123")
        assert code == 0
        assert json.loads(run.imported.read_text())["images"] == 123
        out = folder / "samples"
        assert run_command(lambda run=run, out=out: sample.main([str(run.path), "--num", "2", "--out", str(out)])) == 0
        assert (out / "samples.npy").is_file()


class Evil:
    """Asks for a command to be run when it is opened."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def evil_state(mark):
    """Hand a stand-in's methods to the machine that reads: what is called must be ours."""
    return (
        b"\x80\x04cbuiltins\neval\n(X"
        + len(f"open('{mark}','w')").to_bytes(4, "little")
        + (f"open('{mark}','w')".encode() + b"tR.")
    )


def refuse(kind, folder):
    mark, path = folder / "executed", folder / "weights.pkl"
    good = Layout(3, 3)
    if kind == "command":
        path.write_bytes(pickle.dumps({"ema": Evil(mark)}))
    elif kind == "eval":
        path.write_bytes(evil_state(mark))
    elif kind == "command in a zip":
        torch.save({"ema": Evil(mark)}, path)
    elif kind == "cut short":
        write_snapshot(path, good)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "outside its numbers":
        good.tensors["map_layer0.weight"] = torch.zeros(1, 1).expand(good.tensors["map_layer0.weight"].shape)
        write_snapshot(path, good)
    elif kind == "another network":
        torch.save({"layer.weight": torch.zeros(2), "layer.bias": torch.zeros(2)}, path)
    elif kind == "another preconditioning":
        write_snapshot(path, good, "VPPrecond")
    elif kind == "not finite":
        good.tensors["map_layer1.bias"][3] = torch.nan
        write_snapshot(path, good)
    elif kind == "classes":
        good.tensors["map_label.weight"] = torch.zeros(8, 10)
        write_snapshot(path, good)
    elif kind == "a layer more":
        good.tensors["enc.8x8_aux_skip.weight"] = torch.zeros(8, 8, 1, 1)
        write_snapshot(path, good)
    elif kind == "a layer less":
        del good.tensors["dec.4x4_in1.conv0.bias"]
        write_snapshot(path, good)
    elif kind == "absent":
        path = folder / "absent.pkl"
    elif kind == "a folder":
        path = folder
    return mark, path


WRONG = {
    "command": "holds no network",
    "eval": "holds no network",
    "command in a zip": "cannot be taken out",
    "cut short": "cannot be taken out",
    "outside its numbers": "more numbers than there are",
    "another network": "no DDPM++",
    "another preconditioning": "VPPrecond",
    "not finite": "not all finite",
    "classes": "classes",
    "a layer more": "enc.8x8_aux_skip",
    "a layer less": "dec.4x4_in1.conv0.bias",
    "absent": "no such file",
    "a folder": "is a folder; name the file",
}


@pytest.mark.parametrize(("kind", "sentence"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_with_a_file_is_said_and_nothing_in_it_is_run(tmp_path, capsys, kind, sentence):
    mark, path = refuse(kind, tmp_path)
    code, run = bring_in(tmp_path, path)
    said = capsys.readouterr().err
    assert code == 3, said
    assert said.count("\n") == 1
    assert sentence in said
    assert not mark.exists()
    assert not run.path.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--set", "backbone.features=16"], "--set 'backbone.features=8'"),
        (["--set", "backbone.attention=[true, true]"], "--set 'backbone.attention=[false, true]'"),
        (["--set", "diffusion.sigma_data=0.3"], "sigma_data is 0.5"),
        (["--set", "diffusion.hidden_std=0.1"], "hidden_std is 0.1"),
        (["--set", "backbone={kind: monai_unet}"], "kind ddpmpp"),
        (["--images", "-1"], "--images"),
    ],
)
def test_a_protocol_of_another_network_is_refused(tmp_path, capsys, options, sentence):
    write_snapshot(tmp_path / "weights.pkl", Layout(3, 3))
    code, run = bring_in(tmp_path, tmp_path / "weights.pkl", NOISE, *options)
    said = capsys.readouterr().err
    assert code == 2, said
    assert sentence in said
    assert not run.path.exists()
