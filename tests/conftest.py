"""Fixtures every test may use."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.shapes import ROOMS

# Before anything imports these rooms. In production nothing is checked.
install_import_hook([f"rsd_med.{room}" for room in ROOMS], "tests.shapes.check")

from benchmarks.common import find_chromium  # noqa: E402


def shared_folder() -> Path:
    """Return the folder of real data, which is not part of the package and need not be there."""
    named = os.environ.get("RSD_MED_SHARED_DATA")
    return Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data, which is not part of the package."""
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip("The real data are not here: set RSD_MED_SHARED_DATA to the folder that holds them.")
    return folder


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """A browser to open pages with; `.ci/run` installs one."""
    program = find_chromium()
    if program is None:
        pytest.skip("No Chromium is installed here, so no page was opened in a browser: see .ci/run.")
    return program


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache out of the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
