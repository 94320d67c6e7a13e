"""The Dockerfile, without docker: what it copies is there and goes into the build, what it calls exists."""

import fnmatch
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from rsd_med import serve
from rsd_med.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]


def instructions() -> list[tuple[str, str]]:
    """Return (word, rest) of every instruction, lines that go on put together."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.M)).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def of(word: str) -> list[str]:
    return [rest for name, rest in instructions() if name == word]


def copied() -> list[str]:
    """Return the paths that are copied from the repository."""
    return [path for rest in of("COPY") if not rest.startswith("--from") for path in shlex.split(rest)[:-1]]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path out: the last pattern that matches it, or a folder of it, decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern = line.removeprefix("!")
            parts = Path(path).parts
            heads = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
            if any(fnmatch.fnmatch(head, pattern) and head.count("/") == pattern.count("/") for head in heads):
                out = not line.startswith("!")
    return out


@pytest.mark.parametrize("path", copied())
def test_what_is_copied_exists_and_is_not_kept_out_of_the_build(path):
    assert (ROOT / path).exists()
    assert not ignored(path)


@pytest.mark.parametrize("path", [".git/config", "runs/x", "tests/conftest.py", "docs/scanner.md", "apps/other/x"])
def test_what_is_not_copied_stays_out_of_the_build(path):
    assert ignored(path)


def test_everything_that_the_package_is_made_of_is_copied():
    """The wheel's own test knows what that is."""
    from tests.test_wheel import PARTS

    assert {*PARTS, "setup.py", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"} == set(copied())


def test_stages_arguments_and_extras_exist():
    stages = {rest.split(" AS ")[1] for rest in of("FROM") if " AS " in rest}
    arguments = dict(rest.partition("=")[::2] for rest in of("ARG"))
    assert {f"torch-{variant}" for variant in ("cpu", "cuda")} <= stages
    assert arguments["VARIANT"] in ("cpu", "cuda")
    for rest in of("COPY"):
        assert not rest.startswith("--from") or rest.split()[0].removeprefix("--from=") in stages
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(arguments["EXTRAS"].split(",")) <= set(project["optional-dependencies"])
    assert tuple(map(int, arguments["PYTHON"].split("."))) >= (3, 11)


def test_it_runs_without_root_and_its_commands_exist():
    (entry,) = map(json.loads, of("ENTRYPOINT"))
    (command,) = map(json.loads, of("CMD"))
    health = json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])
    assert entry == ["rsd-med"] == health[:1]
    for words in (command, health[1:]):
        assert words[0] in COMMANDS
        options = serve.parser().parse_args(words[1:])
        assert str(options.port) == of("EXPOSE")[0]
    assert int(of("USER")[-1]) > 0
    assert [name for name, _ in instructions()].index("USER") > [name for name, _ in instructions()].index("ARG")
