"""A model that was passed on, used by those who get it: ``python -m benchmarks.sharing``.

The demo model is exported in every form. Each form is then used in a virtual environment of its own that holds what
its users have, and nothing else: MONAI and torch for the bundle, onnxruntime for ONNX, the wheel and what it asks for
where the hub's folder is used. What comes out is held against the run. Packages are not downloaded again: those of this
environment are linked into the new ones, each with all that it asks for, and pip looks whether anything is lacking.
"""

import email
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import onnxruntime
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.common import ROOT, Figure, conclude, succeed
from rsd_med import export, sample
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.kinds import BACKBONES
from rsd_med.diffusion.unrolled import CONTEXT, UnrolledNetwork
from rsd_med.opened_run import open_run
from rsd_med.runs.run_folder import RunFolder
from rsd_med.sharing import bundle_draw
from rsd_med.sharing.graphs import Conditions, ReconstructorGraph, StudentGraph
from rsd_med.sharing.models import load_package
from rsd_med.sharing.programs import Model, write_onnx

RUN = ROOT / "apps" / "inspector" / "demo_model"
SMALL: dict[str, dict[str, Any]] = {
    "monai_unet": {"channels": (8, 8), "attention": (False, True), "norm_groups": 4},
    "ddpmpp": {"features": 8, "multipliers": (1, 1), "attention": (False, True), "residual_blocks": 1},
    "patch_unet": {"channels": (8, 8), "attention": (False, True)},
}
"""Settings of small networks; kinds that are not here are tried as they are by default."""

IMAGES = 16
CONDITIONS = 64
SOURCES = ("rsd_med", "protocols", "docs", "apps")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")

ASK_ONNX = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(image,) = session.run(None, dict(numpy.load(sys.argv[2])))
numpy.save(sys.argv[3], image)
"""


def main() -> int:
    """Run the benchmark; return 1 if something came out otherwise."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        out = work / "exported"
        words = [str(RUN), "--out", str(out), "--licence", "CC-BY-4.0", "--conditions", str(CONDITIONS)]
        succeed(export.main, [*words, "--network", "student"])
        held: dict[str, list[str]] = {}
        figures = [
            Figure("bundle, with MONAI and torch: largest difference", _bundle(out / "bundle", work, held), 1e-4),
            Figure("ONNX, with onnxruntime: largest difference", _onnx(out / "onnx", work, held), 1e-4),
            Figure("hub folder, with the wheel: largest difference", _hub(out / "hub", work, held), 0.0),
        ]
        figures += [Figure(f"ONNX of a {kind}: largest difference", _kind(kind, work), 1e-4) for kind in BACKBONES]
        figures.append(Figure("ONNX of a reconstructor: largest difference", _reconstructor(work), 1e-4))
    figures += [Figure(f"packages in the environment of {name}", len(packages)) for name, packages in held.items()]
    return conclude("sharing", figures, {"packages": held})


def _bundle(folder: Path, work: Path, held: dict[str, list[str]]) -> float:
    """Draw images with MONAI's own command; return how far they are from those of the network itself."""
    python, held["the bundle"] = environment(work / "monai", ["monai", "torch", "numpy", "fire"])
    require_absent(python, "rsd_med", "onnx", "safetensors", "pydantic")
    config = ["--config_file", "configs/inference.json", "--bundle_root", ".", "--num", str(IMAGES), "--seed", "3"]
    run([python, "-m", "monai.bundle", "run", *config, "--device", "cpu"], folder)
    expected = work / "expected"
    model = _student()
    conditions = torch.load(folder / "models" / "conditions.pt", weights_only=True)
    shape = (model.graph.channels, *model.graph.size)
    bundle_draw.run(model.graph, "one_step", shape, IMAGES, 3, "cpu", conditions, str(expected))
    return difference(folder / "samples" / "samples.npy", expected / "samples.npy")


def _onnx(folder: Path, work: Path, held: dict[str, list[str]]) -> float:
    """Ask the ONNX model without torch."""
    python, held["ONNX"] = environment(work / "onnx", ["onnxruntime", "numpy"])
    require_absent(python, "rsd_med", "torch", "monai", "onnx")
    model = _student()
    inputs = model.example(IMAGES)
    arrays: dict[str, Any] = {port.name: tensor.numpy() for port, tensor in zip(model.inputs, inputs, strict=True)}
    np.savez(work / "inputs.npz", **arrays)
    with torch.no_grad():
        np.save(work / "expected.npy", model.graph(*inputs).numpy())
    run([python, "-c", ASK_ONNX, folder / "student.onnx", work / "inputs.npz", work / "answer.npy"], work)
    return difference(work / "answer.npy", work / "expected.npy")


def _hub(folder: Path, work: Path, held: dict[str, list[str]]) -> float:
    """Sample the hub's folder with the installed wheel, and the run with this checkout."""
    wheel = build_wheel(work)
    with ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    python, held["the wheel"] = environment(work / "wheel", needed(asked))
    require_absent(python, "rsd_med", "onnx", "gradio")
    # pip refuses if anything that the wheel asks for is lacking: it may look nowhere else.
    run([*PIP, "--python", python, "install", "--quiet", "--no-index", wheel], work)
    drawn = ["--num", str(IMAGES), "--seed", "5", "--out"]
    run([python.with_name("rsd-med"), "sample", folder, *drawn, work / "theirs"], work)
    succeed(sample.main, [str(RUN), *drawn, str(work / "ours")])
    return difference(work / "theirs" / "samples.npy", work / "ours" / "samples.npy")


def build_wheel(work: Path) -> Path:
    """Build the wheel of this checkout from a copy of its sources, so that nothing is left here."""
    source = work / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, source / name)
    alone = ["--no-deps", "--no-index", "--no-build-isolation"]
    run([*PIP, "wheel", "--quiet", *alone, "--wheel-dir", work, source], work)
    (wheel,) = work.glob("*.whl")
    return wheel


def _kind(kind: str, work: Path) -> float:
    """Write a small network of a kind as ONNX and ask it; its weights are random, since first ones answer zero."""
    narrow = SMALL.get(kind, {})
    settings = BACKBONES[kind].model_validate({"kind": kind} | narrow)
    denoiser = build_denoiser(settings, DiffusionSettings(hidden_std=0), 1, 0, generator_for(0, "weights"))
    draws = generator_for(0, kind)
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight.add_(0.1 * draws.normal(*weight.shape))
    graph = StudentGraph(denoiser.requires_grad_(False), FewSteps(2.5), 1, (16, 16))
    model = Model(graph, Conditions())
    write_onnx(model, work / f"{kind}.onnx", "")
    (z,) = model.example(IMAGES)
    session = onnxruntime.InferenceSession(work / f"{kind}.onnx", providers=["CPUExecutionProvider"])
    expected = graph(z).numpy()
    return float(np.abs(session.run(None, {"z": z.numpy()})[0] - expected).max() / np.abs(expected).max())


def _reconstructor(work: Path) -> float:
    """Write a small reconstructor as ONNX and ask it."""
    draws, generator = generator_for(0, "reconstructor"), generator_for(0, "weights")
    settings = BACKBONES["patch_unet"].model_validate({"channels": (16, 16), "attention": (False, True)})
    network = UnrolledNetwork(build_denoiser(settings, DiffusionSettings(hidden_std=0.1), 2, CONTEXT, generator), 2)
    with torch.no_grad():
        for weight in network.denoiser.parameters():
            weight.add_(0.1 * draws.normal(*weight.shape))
    maps = draws.normal(IMAGES, 2, 4, 16, 16)
    maps /= maps.square().sum((1, 2), keepdim=True).sqrt()
    mask = (draws.uniform(IMAGES, 1, 1, 16) < 0.5).float().expand(-1, -1, 16, -1)
    model = Model(ReconstructorGraph(network, 2, (16, 16)).requires_grad_(False), Conditions(mask, maps))
    write_onnx(model, work / "reconstructor.onnx", "")
    inputs = model.example(IMAGES)
    session = onnxruntime.InferenceSession(work / "reconstructor.onnx", providers=["CPUExecutionProvider"])
    fed = {port.name: tensor.numpy() for port, tensor in zip(model.inputs, inputs, strict=True)}
    expected = model.graph(*inputs).numpy()
    return float(np.abs(session.run(None, fed)[0] - expected).max() / np.abs(expected).max())


def _student() -> Any:
    folder = RunFolder(RUN)
    package = load_package(folder, open_run(folder, device="cpu"), "Apache-2.0", (), ("student",), CONDITIONS)
    return package.models[0]


def environment(folder: Path, needs: Iterable[str]) -> tuple[Path, list[str]]:
    """Make a virtual environment with some packages and what they ask for; return its Python, and what it holds."""
    venv.create(folder, symlinks=True)
    places = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    packages: dict[str, Distribution] = {}
    visited: set[tuple[str, str]] = set()
    for need in needs:
        _collect(need, packages, visited)
        if canonicalize_name(Requirement(need).name) not in packages:
            sys.exit(f"{need} is not installed here: python -m pip install --constraint constraints.txt -e '.[dev]'")
    for package in packages.values():
        for top in {path.parts[0] for path in package.files or () if path.parts[0] not in ("..", "__pycache__")}:
            link = Path(places["purelib"]) / top
            if not link.exists():
                link.symlink_to(Path(str(package.locate_file(top))))
    python = Path(places["scripts"]) / "python"
    run([*PIP, "--python", python, "check"], folder)
    return python, sorted(f"{name} {package.version}" for name, package in packages.items())


def _collect(need: str, packages: dict[str, Distribution], visited: set[tuple[str, str]]) -> None:
    requirement = Requirement(need)
    name = canonicalize_name(requirement.name)
    try:
        packages[name] = distribution(name)
    except PackageNotFoundError:
        return  # of another platform, or pip will say so
    for extra in ("", *sorted(requirement.extras)):
        if (name, extra) not in visited:
            visited.add((name, extra))
            for further in needed(packages[name].requires or (), extra):
                _collect(further, packages, visited)


def needed(requirements: Iterable[str], extra: str = "") -> list[str]:
    """Return those of a package's requirements that count on this machine, with one of its extras or with none."""
    asked = [Requirement(text) for text in requirements]
    return [str(one) for one in asked if one.marker is None or one.marker.evaluate({"extra": extra})]


def require_absent(python: Path, *modules: str) -> None:
    """End the benchmark if an environment holds what it must do without."""
    program = f"import importlib.util as u, sys; sys.exit(any(u.find_spec(n) for n in {modules!r}))"
    run([python, "-c", program], python.parent)


def run(command: Iterable[Any], folder: Path) -> None:
    """Run a command; end the benchmark with what it said where it fails."""
    shown = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, env={"HOME": str(folder)}
    )
    if shown.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{shown.stdout}{shown.stderr}")


def difference(first: Path, second: Path) -> float:
    """Return the largest difference of two arrays, as a part of the largest value."""
    a, b = np.load(first), np.load(second)
    return float(np.abs(a - b).max() / np.abs(b).max())


if __name__ == "__main__":
    sys.exit(main())
