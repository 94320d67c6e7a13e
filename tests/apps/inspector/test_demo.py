"""The model that ships with the app: whole, small, with a licence, and without a trace of any machine."""

import re

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.compute import domain
from apps.inspector.compute.model import Model
from apps.inspector.compute.reconstruction import held_out
from apps.inspector.demo import FOLDER, MOST_BYTES, main
from rsd_med.base.command import run_command
from tests.apps.tiny_run import make_tiny_run


def test_the_demo_draws_anatomy_and_says_whose_it_may_be():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    for path in files:
        if path.suffix not in (".png", ".npy", ".npz", ".safetensors"):
            assert not re.search(r"/(tmp|work|root|home)/", path.read_text(encoding="utf-8")), path.name
    model = Model(FOLDER)
    assert set(model.networks) == {"teacher", "student", "reconstructor"}
    for name in model.networks:
        model.trained(name)  # its weights fit the network as it is now
    assert model.experiment.protocol.description
    images = model.student(0, range(4), 1.0, lambda _: None)
    assert np.isfinite(images).all()
    magnitude, side = np.hypot(images[:, 0], images[:, 1]), images.shape[-1]
    # Something in the middle, air in the corners.
    inner = slice(5 * side // 16, 11 * side // 16)
    assert magnitude[:, inner, inner].mean() > 3 * magnitude[:, : side // 8, : side // 8].mean()
    assert model.facts()["measurements"] >= 3
    assert held_out(model, 0).scan.matrix == (side, side)


def test_a_demo_is_made_whole_from_a_run_or_not_at_all(tmp_path, capsys):
    run = make_tiny_run(tmp_path / "run")
    out = tmp_path / "demo"
    assert run_command(lambda: main([str(run), "--out", str(out)])) == 0
    made, given = Model(out), Model(run)
    drawn = [model.student(0, [1], 1.0, lambda _: None) for model in (made, given)]
    np.testing.assert_allclose(drawn[0], drawn[1], atol=5e-3)  # weights are kept in half precision
    (run / "metrics.json").unlink()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert run_command(lambda: main([str(run), "--out", str(out)])) != 0
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert "error" in capsys.readouterr().err
    assert "license: apache-2.0" in (out / "model_card.md").read_text(encoding="utf-8")


def test_somebody_s_data_need_a_licence_and_held_out_images_which_go_with_the_model(tmp_path, capsys, monkeypatch):
    run = make_tiny_run(tmp_path / "run")
    resolved = run / "protocol.resolved.yaml"
    text = resolved.read_text(encoding="utf-8")
    root = str(tmp_path / "scans")
    text = re.sub(r"data: .*", f"data: {{kind: fastmri_hdf5, root: {root}}}", text)
    resolved.write_text(f"{text}diffusion: {{hidden_std: 0.1}}\n", encoding="utf-8")
    images, shown = tmp_path / "images.npz", np.random.default_rng(0).integers(0, 255, (9, 16, 16), np.uint8)
    np.savez(images, images=shown)
    named = ["--licence", "CC-BY-4.0", "--dataset", "Heads, by A. Body", "--description", "heads, T1/T2"]
    wanted = [str(run), "--out", str(tmp_path / "demo"), *named, "--held-out", str(images), "--first", "5"]
    for missing in (named[:2], named[2:4], ["--held-out", str(images)]):
        given = [word for word in wanted if word not in missing]
        assert run_command(lambda given=given: main(given)) == 3
        assert "somebody's" in capsys.readouterr().err
    assert run_command(lambda: main([*wanted[:-1], "9"])) == 3
    assert "holds 9 images" in capsys.readouterr().err
    for name, value in (("KNOWN", 4), ("MASKS", 1), ("DRAWS", 1)):
        monkeypatch.setattr(domain, name, value)
    assert run_command(lambda: main(wanted)) == 0
    made = Model(tmp_path / "demo")
    with np.load(tmp_path / "demo" / "held_out.npz") as stored:
        np.testing.assert_array_equal(stored["images"][0], shown[5])
        assert len(stored["images"]) == 9
    card = (tmp_path / "demo" / "model_card.md").read_text(encoding="utf-8")
    assert all(words in card for words in ("license: cc-by-4.0", "Heads, by A. Body", "They show: heads, T1/T2"))
    assert root not in card + (tmp_path / "demo" / "protocol.yaml").read_text(encoding="utf-8")
    # What was measured of the held-out scans once is not measured again.
    monkeypatch.setattr(domain.Domain, "_complete", property(lambda _: pytest.fail("measured again")))
    assert domain.Domain(made).likeness(held_out(made, 1).scan).held_out


def test_the_reconstructor_is_offered_for_scans_of_any_size_and_other_networks_for_their_own():
    model = Model(FOLDER)
    side = model.facts()["shape"][-1]
    assert set(model.networks_for([side, side])) == {"teacher", "student", "reconstructor"}
    assert model.networks_for([230, 180]) == ["reconstructor"]
    assert model.trained("reconstructor").any_size
    assert not model.trained("teacher").any_size
