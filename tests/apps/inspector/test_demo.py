"""The model that ships with the app: whole, small, of simulated data alone, and without a trace of any machine."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.compute.model import Model
from apps.inspector.demo import FOLDER, MOST_BYTES, main
from rsd_med.base.command import run_command
from tests.apps.tiny_run import make_tiny_run


def test_the_demo_draws_knees_and_knows_its_measurements():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for path in files:
        if path.suffix not in (".png", ".npy", ".safetensors"):
            assert not re.search(r"/(tmp|work|root|home)/", path.read_text(encoding="utf-8")), path.name
    model = Model(FOLDER)
    assert set(model.stages) == {"teacher", "student"}
    assert model.experiment.protocol.data.kind == "knee_phantom"
    images = model.student(0, range(4), 1.0, lambda _: None)
    assert np.isfinite(images).all()
    magnitude = np.hypot(images[:, 0], images[:, 1])
    # A knee in the middle, air in the corners.
    assert magnitude[:, 10:22, 10:22].mean() > 3 * magnitude[:, :4, :4].mean()
    assert model.facts()["measurements"] >= 16


def test_a_demo_is_made_whole_from_a_run_or_not_at_all(tmp_path, capsys):
    run = make_tiny_run(tmp_path / "run")
    out = tmp_path / "demo"
    assert run_command(lambda: main([str(run), "--out", str(out)])) == 0
    made, given = Model(out), Model(run)
    silent = [lambda _: None] * 2
    np.testing.assert_array_equal(made.student(0, [1], 1.0, silent[0]), given.student(0, [1], 1.0, silent[1]))
    (run / "model_card.md").unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run_command(lambda: main([str(run), "--out", str(out)])) != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert "error" in capsys.readouterr().err
    assert Path(out / "model_card.md").is_file()
