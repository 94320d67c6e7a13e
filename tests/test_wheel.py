"""The program as it is installed: a wheel, in an environment of its own, away from the checkout."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from apps.inspector.demo import MOST_BYTES

ROOT = Path(__file__).parents[1]
PARTS = {
    "rsd_med": "rsd_med",
    "protocols": "rsd_med/protocols",
    "docs/protocol.schema.json": "rsd_med/docs/protocol.schema.json",
    "apps/inspector": "rsd_med_inspector",
}
"""Where what is installed lies in the checkout, and in the wheel."""

CHANGES = ("data.num_images=8", "evaluation.reference.num_images=8", "teacher.batch_size=2", "student.batch_size=2")
SMALL = [f"--set={change}" for change in CHANGES]


def files_of(place):
    """Yield the files of a folder, or a file itself, without what Python has compiled."""
    yield from (path for path in place.rglob("*") if path.is_file() and path.suffix != ".pyc")
    if place.is_file():
        yield place


def run(*command, folder, fails=False):
    """Run a command in a folder, without this test's own Python path; return what it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    shown = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment | {"HOME": str(folder)})
    assert (shown.returncode != 0) == fails, shown.stderr
    return shown.stderr if fails else shown.stdout


def pip(*arguments, folder):
    quiet = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")
    run(sys.executable, "-m", "pip", *arguments, *quiet, folder=folder)


def build(folder):
    """Build the wheel from a copy of what it is made of, so that nothing is left in the checkout."""
    source = folder / "source"
    for name in (*PARTS, "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        for path in files_of(ROOT / name):
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    pip("wheel", "--no-build-isolation", "--wheel-dir", folder, source, folder=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel, folder):
    """Install the wheel alone and return its Python; what it needs is lent by the environment of this test."""
    venv.create(folder, symlinks=True)
    places = sysconfig.get_paths("venv", vars={"base": str(folder), "platbase": str(folder)})
    python = Path(places["scripts"]) / "python"
    pip("--python", python, "install", wheel, folder=folder)
    # A folder named in a .pth is searched, but its own .pth files are not read: what is editable there stays away.
    (Path(places["purelib"]) / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_the_wheel_holds_the_program_and_runs_away_from_the_checkout(tmp_path):
    wheel = build(tmp_path)
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == {
        (PurePosixPath(there) / path.relative_to(ROOT / here)).as_posix()
        for here, there in PARTS.items()
        for path in files_of(ROOT / here)
        if path.name != "README.md"  # for readers of the source
    }
    assert wheel.stat().st_size < MOST_BYTES + 3 * 2**20  # the demo model, and the program

    away = tmp_path / "away"
    away.mkdir()
    python = install(wheel, tmp_path / "environment")
    command = python.with_name("rsd-med")
    assert run(command, "--help", folder=away).startswith("usage: rsd-med COMMAND")
    assert run(command, "train", "--help", folder=away).startswith("usage: rsd-med train ")
    assert run(command, "inspector", "--help", folder=away).startswith("usage: rsd-med inspector ")
    assert run(command, "schema", folder=away) == (ROOT / "docs/protocol.schema.json").read_text(encoding="utf-8")
    assert "ok    python" in run(command, "doctor", folder=away)
    assert "quickstart" in run(command, "train", "quickstart", "--dry-run", *SMALL, folder=away)
    missing = run(command, "train", "nothing", folder=away, fails=True)
    assert missing.count("\n") == 1
    assert "quickstart" in missing
    assert "knee_R4" in missing
    run(python, "-c", "import apps", folder=away, fails=True)
    assert run(python, "-m", "rsd_med.train", "--help", folder=away).startswith("usage: python -m rsd_med.train ")


def test_the_core_asks_for_what_it_imports_and_for_nothing_else():
    """What nothing imports is a download for nothing; what is imported and not asked for is there by chance."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {re.split(r"[<>=]", entry)[0] for entry in project["dependencies"]}
    modules = {"PyWavelets": "pywt", "PyYAML": "yaml", "pillow": "PIL", "scikit-image": "skimage"}
    imported = set()
    for path in (ROOT / "rsd_med").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module == "torch.utils.tensorboard":
                imported.add("tensorboard")
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.split(".")[0])
    optional = {"pydicom", "finufft", "mlflow", "onnxruntime"}  # of the extras
    through_another = {"einops"}  # MONAI's networks
    assert {modules.get(name, name) for name in asked - through_another} == (
        imported - set(sys.stdlib_module_names) - optional - {"rsd_med", "pydantic_core"}
    )
