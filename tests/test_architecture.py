"""The house stands: imports run downwards only, nothing goes in circles, `import rsd_med` and `--help` stay light.

The app (apps/inspector) is held to the same: rooms of its own, no circles, and no torch in the process that serves.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
APP = "apps.inspector"

# From the roof to the cellar: a room may import itself and the rooms after it. "commands" are the files of rsd_med/
# that can be run with python -m; a new room or a new file beside them is entered here, in its place.
ROOMS = (
    "commands",
    "scanner",
    "reconstruction",
    "choices",
    "workflow",
    "dry_run",
    "sharing",
    "prior",
    "given_teacher",
    "imported_run",
    "estimates",
    "opened_run",
    "costs",
    "experiment",
    "completion",
    "reporting",
    "protocol",
    "training",
    "evaluation",
    "runs",
    "students",
    "teachers",
    "inverse",
    "metrics",
    "foreign",
    "diffusion",
    "data",
    "calibration",
    "corruptions",
    "operators",
    "base",
)
# The app's, likewise. "assembly" are the files that put the rooms together, "shared" those that every room may use.
APP_ROOMS = ("assembly", "reading", "page", "study", "viewer", "web", "compute", "shared")
ASSEMBLY = {f"{APP}.{name}" for name in ("__main__", "server", "demo")}
# Seconds to import, each: used inside the functions that need them.
HEAVY = {
    "finufft",
    "gradio",
    "h5py",
    "ismrmrd",
    "matplotlib",
    "mlflow",
    "monai",
    "nibabel",
    "pydicom",
    "scipy",
    "sigpy",
    "skimage",
    "tensorboard",
    "torchmetrics",
    "torchvision",
}


@cache
def modules(package: str = "rsd_med") -> dict[str, ast.Module]:
    """Parse every module of a package, by its dotted name."""
    parsed = {}
    for path in sorted(ROOT.joinpath(*package.split(".")).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        parsed[name] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    return parsed


def imported(tree: ast.AST, package: str | None = None) -> Iterator[str]:
    """Yield the dotted names of everything imported, at any depth; `from a import b` gives a.b.

    ``package`` is the one that relative imports start from; None where they are refused.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module
            if node.level:
                assert package is not None, f"line {node.lineno}: relative import; write the full name"
                module = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imported_modules(name: str, package: str = "rsd_med") -> set[str]:
    """Return the modules of a package that one of them imports."""
    own = modules(package)
    targets = set()
    for target in imported(own[name], None if package == "rsd_med" else package_of(name)):
        if f"{target}.".startswith(f"{package}."):
            while target not in own:
                target = target.rpartition(".")[0]
            targets.add(target)
    return targets - {name, package}


def package_of(name: str) -> str:
    """Return the package that a module's relative imports start from."""
    folder = ROOT.joinpath(*name.split("."))
    return name if folder.is_dir() else name.rpartition(".")[0]


def at_module_level(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield what runs when a module is imported: everything outside functions and `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def is_command(name: str) -> bool:
    """Whether a module is a command: right below rsd_med, and runs with python -m."""
    if name.count(".") != 1:
        return False
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in modules()[name].body)


def room(name: str) -> str:
    return "commands" if is_command(name) else name.split(".")[1]


MODULES = [name for name in modules() if name != "rsd_med"]
COMMANDS = [name for name in MODULES if is_command(name)]


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_downwards(name):
    assert room(name) in ROOMS, f"{name} is in no known room: enter it in ROOMS, in its place"
    height = ROOMS.index(room(name))
    upwards = {target for target in imported_modules(name) if ROOMS.index(room(target)) < height}
    assert not upwards, f"{name} is below {sorted(upwards)} and must not import it"
    if is_command(name):
        assert not any(is_command(target) for target in imported_modules(name)), "a command must not import another"


def test_no_import_goes_in_a_circle():
    try:
        TopologicalSorter({name: imported_modules(name) for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail("imports in a circle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("name", modules())
def test_heavy_packages_are_imported_where_they_are_used(name):
    roots = {target.split(".")[0] for node in at_module_level(modules()[name]) for target in _direct(node)}
    assert not roots & HEAVY, f"{name} imports {sorted(roots & HEAVY)} when it is imported itself"


def test_the_physics_knows_torch_and_nothing_else():
    allowed = {"torch", "jaxtyping", "rsd_med", *sys.stdlib_module_names}
    for name in MODULES:
        if room(name) == "operators":
            extra = {"finufft"} if name == "rsd_med.operators.nonuniform" else set()  # optional, inside a function
            assert {target.split(".")[0] for target in imported(modules()[name])} <= allowed | extra, name


def test_only_the_protocol_knows_yaml():
    knowing = {name for name in MODULES if any(target.split(".")[0] == "yaml" for target in imported(modules()[name]))}
    assert {room(name) for name in knowing} == {"protocol"}


def test_the_package_calls_neither_app_nor_tests_nor_benchmarks():
    for name in modules():
        assert not {"apps", "tests", "benchmarks"} & {target.split(".")[0] for target in imported(modules()[name])}, (
            name
        )


def test_importing_the_package_is_light():
    program = "import sys, rsd_med; print(sorted({'torch', 'numpy', 'pydantic', 'monai', 'yaml'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_there_at_once(name):
    """Not timed, which would depend on the machine: what makes it slow is not imported."""
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", name, "--help"], capture_output=True, text=True, cwd=ROOT
    )
    assert shown.returncode == 0
    assert shown.stdout.startswith(f"usage: python -m {name.removesuffix('.__main__')}")
    loaded = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in shown.stderr.splitlines()}
    assert not loaded & {"torch", "numpy", "pydantic", *HEAVY}


def test_there_are_commands():
    assert {"rsd_med.train", "rsd_med.schema", "rsd_med.doctor"} <= set(COMMANDS)


def _direct(node: ast.AST, package: str | None = None) -> Iterator[str]:
    """Yield what one node itself imports."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from imported(node, package)


# --- The app --------------------------------------------------------------------------------------------------------


def app_room(name: str) -> str:
    room, _, rest = name.removeprefix(f"{APP}.").partition(".")
    if name in ASSEMBLY:
        return "assembly"
    return room if rest or ROOT.joinpath(*name.split(".")).is_dir() else "shared"


APP_MODULES = [name for name in modules(APP) if name != APP]


@pytest.mark.parametrize("name", APP_MODULES)
def test_the_apps_imports_are_relative_and_run_downwards(name):
    assert app_room(name) in APP_ROOMS, f"{name} is in no known room: enter it in APP_ROOMS, in its place"
    height = APP_ROOMS.index(app_room(name))
    upwards = {to for to in imported_modules(name, APP) if APP_ROOMS.index(app_room(to)) < height}
    assert not upwards, f"{name} is below {sorted(upwards)} and must not import it"
    # Installed, the folder has another name.
    assert not any(target.split(".")[0] == "apps" for target in imported(modules(APP)[name], "relative.to.here.now"))


def test_no_import_of_the_app_goes_in_a_circle():
    try:
        TopologicalSorter({name: imported_modules(name, APP) for name in APP_MODULES}).prepare()
    except CycleError as error:
        pytest.fail("imports in a circle: " + " -> ".join(error.args[1]))


@pytest.mark.parametrize("name", APP_MODULES)
def test_the_app_imports_heavy_packages_where_they_are_used(name):
    tree, package = modules(APP)[name], package_of(name)
    roots = {target.split(".")[0] for node in at_module_level(tree) for target in _direct(node, package)}
    assert not roots & HEAVY, f"{name} imports {sorted(roots & HEAVY)} when it is imported itself"


def test_the_process_that_serves_does_not_compute():
    """Pages and slices are served without torch: it belongs to the worker and to the child that opens uploads."""
    program = (
        "import sys, apps.inspector.server, apps.inspector.page.page; "
        "from apps.inspector.page.tabs import runs, samples, study; "
        f"print(sorted({{'torch', *{sorted(HEAVY)}}} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


def test_what_is_assigned_is_named_by_what_it_holds():
    empty = {"found", "told", "seen", "kept"}
    trees = {
        name: tree for package in ("rsd_med", "apps") for name, tree in modules(package).items() if ".data." not in name
    }
    assert len(trees) > 200
    assigned = {
        f"{name}:{node.lineno} {node.id}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id in empty
    }
    assert not assigned
