"""What the repository says about itself: it cites nothing that a reader cannot open."""

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
