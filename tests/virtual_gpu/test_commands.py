"""Every command, every solver and every task of the app, on the virtual GPU."""

import json

import numpy as np
import pytest
import torch

from rsd_med import doctor, evaluate, reconstruct, sample, simulate, train
from rsd_med.base.command import run_command
from rsd_med.diffusion.kinds import SAMPLERS
from rsd_med.inverse import reconstructor
from rsd_med.inverse.kinds import SOLVERS
from tests.virtual_gpu.gpu import VirtualGPU

PROTOCOL = """
schema_version: 1
name: tiny
seed: 3
data: {kind: knee_phantom, num_images: 8, size: 16, coils: 2, supersample: 1}
corruption: {kind: multicoil_fourier, acceleration: 2, acs_lines: 4, further_lines: 1}
backbone: {kind: monai_unet, channels: [4], attention: [false], norm_groups: 2}
diffusion: {precision: float32}
teacher: {objective: {kind: ambient_fourier}, images: 8, batch_size: 4, evaluate_samples: 6}
student: {images: 8, batch_size: 4, evaluate_every: 4, evaluate_samples: 6}
reconstructor: {images: 8, batch_size: 4, evaluate_samples: 6}
evaluation:
  num_samples: 8
  monitor_images: 6
  samplers: [{kind: heun, steps: 2}]
  reference: {kind: knee_phantom, num_images: 6, size: 16, coils: 2, supersample: 1, split: test}
engine: {compile: false}
"""


def call(command, *arguments):
    """Run a command on the virtual GPU; return its exit code, and the GPU for what it counted."""
    torch.set_num_threads(1)
    with VirtualGPU() as gpu:
        return run_command(lambda: command.main([str(argument) for argument in arguments])), gpu


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    path = tmp_path_factory.mktemp("commands") / "tiny.yaml"
    path.write_text(PROTOCOL)
    return path


@pytest.fixture(scope="module")
def run(protocol):
    """A run that was trained on the virtual GPU."""
    folder = protocol.parent / "run"
    code, gpu = call(train, protocol, "--run-dir", folder, "--quiet")
    assert code == 0
    assert gpu.waits
    assert json.loads((folder / "environment.json").read_text())["gpu"] == "virtual"
    return folder


@pytest.fixture(scope="module")
def scan(protocol):
    """A fully sampled slice of two coils."""
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    np.save(protocol.parent / "heads.npy", np.where(y**2 + (1.3 * x) ** 2 < 0.7, 120, 0).astype(np.uint8)[None])
    out = protocol.parent / "scans"
    options = ("--fully-sampled", "--coils", 2, "--sigma", 0.01)
    assert call(simulate, protocol.parent / "heads.npy", "--out", out, *options)[0] == 0
    return next(out.glob("*.h5"))


def test_a_dry_run(protocol):
    assert call(train, protocol, "--run-dir", protocol.parent / "none", "--dry-run")[0] == 0


def test_evaluation(run):
    assert call(evaluate, run, "--num", 8)[0] == 0


def test_the_doctor(protocol, tmp_path):
    code, gpu = call(doctor, protocol, "--runs", tmp_path)
    assert code in (0, 2)  # this machine may be short of something; the GPU computes
    assert gpu.waits


def test_the_student_draws(run, tmp_path):
    assert call(sample, run, "--num", 2, "--out", tmp_path)[0] == 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_teacher_draws(run, tmp_path, sampler):
    options = ("--from", "teacher", "--sampler", sampler, "--steps", 2)
    assert call(sample, run, "--num", 2, *options, "--out", tmp_path)[0] == 0


GUIDANCES = [("a_dps", f"guidance={name}") for name in ("likelihood", "published")]


@pytest.mark.parametrize(("method", "option"), [*((method, "") for method in SOLVERS), *GUIDANCES])
def test_every_method_reconstructs(run, scan, tmp_path, method, option):
    options = [f"--set={option}"] if option else []
    options += ["--set=samples=2"] if "samples" in SOLVERS[method].model_fields else []
    options += ["--set=steps=2"] if "steps" in SOLVERS[method].model_fields else []
    options += ["--acceleration", "2", "--acs-lines", "4"]
    code, gpu = call(reconstruct, run, scan, "--method", method, *options, "--out", tmp_path)
    assert code == 0
    assert gpu.to_device  # the scan went to where the network lies
    quality = json.loads((tmp_path / "metrics.json").read_text())["volumes"][0]["quality"]
    assert np.isfinite(quality["nmse"])


@pytest.mark.parametrize("adapt", [[], ["--adapt", 1]], ids=["as it is", "adapted"])
def test_a_reconstructor_is_calibrated_on_the_lines_of_the_scan(run, scan, tmp_path, monkeypatch, adapt):
    """With enough lines outside the centre: the scans of the other tests have too few to hide any."""
    factors = []
    own = reconstructor.own_spread
    monkeypatch.setattr(reconstructor, "own_spread", lambda *some: factors.append(own(*some)))
    options = ["--method", "reconstructor", "--acceleration", "1.4", "--acs-lines", 4, "--set=samples=2", *adapt]
    code, gpu = call(reconstruct, run, scan, *options, "--out", tmp_path)
    assert code == 0
    assert gpu.to_device
    assert all(factor is not None and factor > 0 for factor in factors)
    assert factors


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_the_device_of_a_reconstruction_can_be_chosen(scan, tmp_path, device):
    code, gpu = call(reconstruct, "-", scan, "--method", "zero_filled", "--device", device, "--out", tmp_path)
    assert code == 0
    assert bool(gpu.to_device) == (device != "cpu")


def test_a_gpu_that_is_not_there_is_refused(scan, tmp_path, capsys):
    options = ["-", str(scan), "--device", "cuda", "--out", str(tmp_path)]
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert run_command(lambda: reconstruct.main(options)) == 2
    assert "--device: cuda is asked for but this machine has no usable GPU" in capsys.readouterr().err


@pytest.fixture(scope="module")
def app(run):
    """The tasks of the app's worker on the virtual GPU, and the GPU."""
    pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")
    from apps.inspector.compute.tasks import build_tasks

    with VirtualGPU() as gpu:
        yield build_tasks(run), gpu


DRAWN = {"seed": 0, "truncation": 1.0}
TASKS = {
    "facts": {},
    "grid": {"count": 2} | DRAWN,
    "teacher": {"numbers": [0, 1], "calls": 3} | DRAWN,
    "nearest": {"numbers": [0], "everything": False} | DRAWN,
    "between": {"first": 0, "second": 1, "frames": 2} | DRAWN,
    "read": {"scan": 0, "acceleration": 2.0},
    "welcome": {"number": 0},
    "forget": {"folder": "nobody's"},
    "reconstruct": {"scan": 0, "acceleration": 2.0, "samples": 2, "window": (0.0, 1.0), "name": "a", "title": "b"},
}


def finite(answer):
    """Whether every array in the answer of a task is finite, and on the CPU: it is pickled."""
    arrays = answer.values() if isinstance(answer, dict) else [answer]
    return all(np.isfinite(array).all() for array in arrays if isinstance(array, np.ndarray))


def test_every_task_of_the_app_is_tried(app):
    assert set(app[0]) == set(TASKS)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "reconstruct"])
def test_the_app_draws_reads_and_searches(app, name):
    tasks, gpu = app
    assert finite(tasks[name](progress=lambda _: None, **TASKS[name]))
    assert gpu.to_host


def test_the_app_searches_all_measurements(app):
    assert app[0]["nearest"](progress=lambda _: None, **TASKS["nearest"] | {"everything": True})["everything"]


@pytest.mark.parametrize("method", SOLVERS)
def test_the_app_reconstructs(app, tmp_path, method):
    answer = app[0]["reconstruct"](progress=lambda _: None, method=method, folder=str(tmp_path), **TASKS["reconstruct"])
    assert all(finite(image) for image in answer["images"].values())
