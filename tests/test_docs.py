"""What the repository says about itself: it cites nothing that a reader cannot open, and docstrings have one form."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXTS = {".py", ".md", ".yaml", ".yml", ".toml", ".js", ".html", ".css"}
# Only their own sources say what these words mean, and the sources are not in the repository.
PRIVATE = re.compile(r"\bmethods §|\bDESIGN\b|\breview-[a-z]+\b|\b(?:anchors|app-and-safety)\.md|\bissue #?\d+\b")
OURS = re.compile(r"\b(?:docs|benchmarks|examples|tests)/[\w./-]+\.(?:md|py|json|png)\b")


def files() -> list[Path]:
    tops = ("rsd_med", "apps", "benchmarks", "tests", "protocols", "examples", "docs")
    paths = [path for top in tops for path in (ROOT / top).rglob("*") if path.suffix in TEXTS]
    paths += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml", "Makefile")]
    return [path for path in paths if "niivue/" not in str(path) and path != Path(__file__)]


def mistakes(pattern: re.Pattern[str], wrong: Callable[[str], bool] = bool) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in pattern.findall(line)
        if wrong(match)
    ]


def test_nothing_private_is_cited() -> None:
    assert all(PRIVATE.search(line) for line in ("as in methods §2.4", "(DESIGN section 5)", "see issue 12"))
    assert len(files()) > 300
    assert not mistakes(PRIVATE)


def test_every_file_that_is_cited_exists() -> None:
    assert OURS.findall("see docs/nowhere.md.") == ["docs/nowhere.md"]
    assert not mistakes(OURS, lambda name: not (ROOT / name).exists())


def untyped_returns(source: str) -> list[int]:
    """Return the lines of docstrings whose section Returns does not begin with a type and go on with indented text."""
    owners = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    documented = (node for node in ast.walk(ast.parse(source)) if isinstance(node, owners))
    texts = [(node.lineno, ast.get_docstring(node) or "") for node in documented]
    sections = [(line, *text.split("\nReturns\n-------\n")[1:]) for line, text in texts]
    return [line for line, *section in sections if section and not re.match(r"\w[^\n]*\n    \S", section[0])]


def test_returns_name_the_type_and_then_say_what_it_is() -> None:
    wrong = 'def f():\n    """Do.\n\n    Returns\n    -------\n    A number.\n    """\n'
    assert untyped_returns(wrong) == [1]
    assert untyped_returns(wrong.replace("A number.", "int\n        A number.")) == []
    sources = [path for path in files() if path.suffix == ".py" and "tests" not in path.parts]
    assert not {str(path): lines for path in sources if (lines := untyped_returns(path.read_text(encoding="utf-8")))}


def test_the_walkthrough_names_files_and_names_that_exist() -> None:
    text = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:rsd_med|apps)/[\w/]+\.py)`", text)
    names = {name.rpartition(".")[2] for name in re.findall(r"`([A-Za-z_.]*[A-Z_]\w*|[a-z]+)`", text)}
    tops = ("rsd_med", "apps")
    code = "\n".join(path.read_text(encoding="utf-8") for top in tops for path in (ROOT / top).rglob("*.py"))
    assert len(paths) > 10
    assert len(names) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    assert [name for name in sorted(names) if not re.search(rf"(?:def|class) {name}\b|\b{name} *[:=]", code)] == []
