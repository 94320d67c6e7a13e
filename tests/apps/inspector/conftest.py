"""The whole app, started once for all tests that use it as a person does: its imports alone take seconds."""

import shutil

import pytest

from tests.apps.running import running
from tests.apps.tiny_run import make_tiny_run


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Yield the app's process, its address, and the folder with its run ``tiny`` and the run ``other`` beside it."""
    folder = tmp_path_factory.mktemp("runs")
    run = make_tiny_run(folder / "tiny")
    shutil.copytree(run, folder / "other")
    with running(run, "--compare", folder / "other") as (process, address):
        yield process, address, folder
