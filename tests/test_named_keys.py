"""Every settings key and every option that a sentence of ours names exists: whoever follows an error gets somewhere."""

import ast
import re
from functools import cache
from pathlib import Path

from rsd_med.protocol import protocol_json_schema

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("rsd_med", "apps") for path in (ROOT / package).rglob("*.py"))
DOTTED = re.compile(r"(?<![\w./$])((?:[a-z][a-z_0-9]*\.)+[a-z][a-z_0-9]*)(?![\w(/])(?:: (\w+))?")
OPTION = re.compile(r"(?<![\w(-])--[a-z][a-z-]*[a-z]")
# Dotted words that are no keys: files, modules, abbreviations.
FILE = re.compile(r".*\.(csv|json|jsonl|yaml|md|html|npy|npz|png|gz|h5|pt|txt|safetensors)")
MODULES = {"rsd_med", "rsd_med_inspector", "apps", "torch", "np", "numpy", "monai"}
# The last three are torchrun's and MONAI's.
OTHERS = {"e.g", "--help", "--nproc-per-node", "--config", "--bundle"}


def sentences(path):
    """Yield the strings of a module that say something, with their lines: no docstrings, no programs."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in silent else None
        if isinstance(text, str) and " " in text and "=>" not in text:
            yield text, node.lineno


@cache
def options():
    """Return all options of all commands, and the names of style variables, which look alike."""
    names = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
                names |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    for path in (path for package in ("rsd_med", "apps") for path in (ROOT / package).rglob("*.css")):
        names |= set(re.findall(r"--[a-z-]+", path.read_text(encoding="utf-8")))
    return names


def parts(schema, whole):
    """Yield what a part of the schema may be: itself, what it refers to, the members of a union."""
    if "$ref" in schema:
        yield from parts(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    for member in [*schema.get("oneOf", ()), *schema.get("anyOf", ())]:
        yield from parts(member, whole)
    yield schema


@cache
def schema():
    return protocol_json_schema()


def exists(key, kind=None):
    """Whether the schema knows a dotted key and, of one that ends in ``kind``, its value."""
    whole = schema()
    place = [whole]
    for part in key.split("."):
        place = [s for p in place for q in parts(p, whole) for n, s in q.get("properties", {}).items() if n == part]
    values = {value for p in place for value in (p.get("const"), *p.get("enum", ()))}
    return bool(place) and (kind is None or not key.endswith(".kind") or kind in values)


def test_the_check_knows_keys_from_others():
    assert exists("student.loss.alpha")
    assert exists("corruption.kind", "noise")
    assert exists("evaluation.reference.root")
    assert not exists("student.alpha")
    assert not exists("corruption.kind", "fog")
    assert DOTTED.findall("estimate them with coil_maps.kind: auto.") == [("coil_maps.kind", "auto")]
    assert {"--set", "--acs-lines", "--port"} <= options()


def test_what_is_named_exists():
    unknown = []
    for path in FILES:
        for text, line in sentences(path):
            names = [name for name in OPTION.findall(text) if name not in options() | OTHERS]
            for key, kind in DOTTED.findall(text):
                key = f"calibration.{key}" if f"--calibration {key}=" in text else key
                other = FILE.fullmatch(key) or key.partition(".")[0] in MODULES or key in OTHERS
                names += [] if other or exists(key, kind or None) else [key]
            unknown += [f"{path.relative_to(ROOT)}:{line}: {name}" for name in names]
    assert unknown == []
