"""The worker's model: the same images as the command line, the right neighbour, walks that begin where they say."""

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.compute import reconstruction, tasks
from apps.inspector.compute.methods import CHECK_DRAWS
from apps.inspector.compute.model import Model, slerp
from apps.inspector.compute.nearest import nearest_of_all, nearest_of_kept
from apps.inspector.compute.reconstruction import ReadyScans
from apps.inspector.compute.tasks import build_tasks
from apps.inspector.reading.account import methods_for
from rsd_med.base.errors import DataError
from rsd_med.data.scan import Picture
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.evaluation.generation import draw_images, student_draw, teacher_draw
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.operators.channels import to_channels
from rsd_med.training import adaptation
from tests.apps.tiny_run import make_tiny_run
from tests.inverse.scenes import untrained_reconstructor


def silent(_):
    pass


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(scope="module")
def model(run):
    return Model(run)


def test_image_k_of_a_seed_is_what_the_command_line_draws(model):
    network, _ = model.stages["student"]
    few_steps = model.experiment.protocol.student.few_steps
    expected = draw_images(
        student_draw(network, few_steps), model.experiment.objective, model.experiment.sampling_operators, 66, seed=5
    ).numpy()
    np.testing.assert_allclose(model.student(5, [3, 65, 0], 1.0, silent), expected[[3, 65, 0]], atol=2e-6)
    assert not np.allclose(model.student(6, [3], 1.0, silent), expected[[3]], atol=1e-3)
    assert not np.allclose(model.student(5, [3], 0.5, silent), expected[[3]], atol=1e-3)


def test_the_teacher_starts_from_the_same_latents_and_keeps_to_its_budget(model):
    network, _ = model.stages["teacher"]
    expected = draw_images(
        teacher_draw(network, HeunSettings(steps=3), 0.0),
        model.experiment.objective,
        model.experiment.sampling_operators,
        2,
        seed=0,
    ).numpy()
    shares = []
    np.testing.assert_allclose(model.teacher(0, [0, 1], 1.0, 35, shares.append), expected, atol=2e-5)
    assert shares == pytest.approx([k / 5 for k in range(1, 6)])
    for calls in (1, 3, 4, 5, 100):
        assert model.teacher_sampler(calls).calls(0.0) <= calls
    assert model.teacher_sampler(1).calls(0.0) == 1


def test_the_nearest_measurement_is_found_where_there_is_a_copy(model):
    # An image that is one of the training images: what the scanner saw of it is its own measurement.
    number = 3
    clean = to_channels(model.experiment.dataset.reference(model_item(model, number))[None])
    found = nearest_of_kept(model, clean.numpy().astype(np.float32), silent)
    assert found["index"][0] == number
    assert found["distance"][0] < 0.05
    np.testing.assert_array_equal(found["measurements"][0], model.measured[number].numpy())
    others = nearest_of_kept(model, np.zeros((1, 2, 16, 16), np.float32), silent)
    assert others["distance"][0] == pytest.approx(1.0)


def test_of_all_measurements_none_is_farther_than_of_those_kept(run):
    model, number, shares = Model(run), 7, []
    clean = to_channels(model.experiment.dataset.reference(number)[None]).numpy().astype(np.float32)
    images = np.concatenate([clean, model.student(0, range(5), 1.0, silent)])
    found = nearest_of_all(model, images, shares.append)
    assert (found["everything"], found["searched"], found["index"][0]) == (True, 12, number)
    assert found["distance"][0] < 0.05
    expected = to_channels(model.experiment.dataset[number].image())
    np.testing.assert_allclose(found["measurements"][:1], expected.numpy(), atol=1e-6)
    assert shares == sorted(shares)
    kept = nearest_of_kept(model, images, silent)  # whatever anybody has searched before
    assert (kept["everything"], kept["searched"]) == (False, 8)
    assert (found["distance"] <= kept["distance"] + 1e-6).all()
    # A measurement that is the nearest of all and was kept has one distance, not two.
    same = [i for i, index in enumerate(found["index"]) if index == model_item(model, kept["index"][i])]
    assert same
    np.testing.assert_allclose(found["distance"][same], kept["distance"][same], rtol=1e-4)


def model_item(model, number):
    """Return the index in the data set of a stored measurement."""
    wanted = model.experiment.measurements[:].ids[number]
    return next(index for index in range(len(model.experiment.dataset)) if model.experiment.dataset.id(index) == wanted)


def test_a_walk_begins_at_its_first_sample_and_moves_little_by_little(model):
    frames = model.between(0, 2, 7, 1.0, 5, silent)
    np.testing.assert_allclose(frames[0], model.student(0, [2], 1.0, silent)[0], atol=2e-6)
    assert not np.allclose(frames[0], frames[-1], atol=1e-3)
    a, b = torch.randn(2, 8, 8), torch.randn(2, 8, 8)
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, a, 0.3), a)
    # Half way between latents of one length lies a latent of that length.
    b = b * a.norm() / b.norm()
    torch.testing.assert_close(slerp(a, b, 0.5).norm(), a.norm())


def test_a_run_without_a_student_says_so(tmp_path):
    tasks = build_tasks(make_tiny_run(tmp_path / "run", stages=("teacher",)))
    with pytest.raises(DataError, match="no trained student"):
        tasks["grid"](progress=silent, seed=0, count=1, truncation=1.0)
    assert tasks["facts"](progress=silent)["models"] == {"teacher": 32}
    nothing = build_tasks(tmp_path)
    with pytest.raises(DataError, match="no run folder"):
        nothing["facts"](progress=silent)


@pytest.mark.parametrize("method", ["cg_sense", "student_pnp", "a_dps"])
def test_an_example_is_reconstructed_and_kept(run, tmp_path, method):
    tasks = build_tasks(run)
    shares = []
    found = tasks["reconstruct"](
        progress=shares.append,
        scan=1,
        acceleration=2.0,
        method=method,
        samples=2,
        window=(0.0, 1.0),
        name="result",
        title="scan 2",
        folder=str(tmp_path / "out"),
    )
    assert {"result", "zero_filled", "reference"} <= set(found["images"])
    assert ("uncertainty" in found["images"]) == (method != "cg_sense")
    assert all(image.shape == (16, 16) and np.isfinite(image).all() for image in found["images"].values())
    assert shares == sorted(shares)
    assert found["trust"]["quality"].keys() == {"NMSE", "PSNR", "SSIM"}
    assert (tmp_path / "out" / "result.nii.gz").stat().st_size > 0
    if method == "cg_sense":
        assert found["trust"]["quality"]["NMSE"] < found["trust"]["zero_filled"]["NMSE"]


def test_the_reference_is_in_the_units_of_the_result(run):
    """With everything measured, there is nothing to reconstruct: the image must be about its own reference."""
    from apps.inspector.compute.reconstruction import arrays, build_solver, held_out, prepare, reconstruct, scanned

    model = Model(run)
    picture = np.hypot(*np.mgrid[-1:1:16j, -1:1:16j]).astype(np.float32) < 0.7
    sent = scanned(Picture("disc", torch.from_numpy(2.0 * picture[None] - 1).float()), 2, (10.0, 60.0))
    for asked in (held_out(model, 0), sent):
        prepared = prepare(model, asked, 1.0)
        found, zero_filled = reconstruct(model, prepared, "zero_filled", build_solver(model, "zero_filled", 1), silent)
        images = arrays(prepared, found, zero_filled)
        assert images["result"].sum() / images["reference"].sum() == pytest.approx(1, abs=0.05)
        assert np.corrcoef(images["result"].ravel(), images["reference"].ravel())[0, 1] > 0.98
    # Of a picture, it is the picture, without the noise of the simulated scan.
    np.testing.assert_allclose(images["reference"], 10 + 50 * picture, atol=1e-3)


def test_the_reconstructor_adapts_to_a_scan_and_is_checked_by_what_it_has_not_learned_from(run, monkeypatch):
    model = Model(run)
    monkeypatch.setattr(Model, "trained", lambda self, stage: untrained_reconstructor())
    monkeypatch.setattr(reconstruction, "ADAPTATION_STEPS", 1)
    adaptations = []
    before = adaptation.adapt
    monkeypatch.setattr(adaptation, "adapt", lambda *args: adaptations.append(before(*args)) or adaptations[-1])
    answer = tasks._answer(ReadyScans(model), 0, 1.0, "adapted", 4, silent)
    (adapted,) = adaptations  # the image and the check ask the same
    assert adapted.facts.copies >= CHECK_DRAWS
    assert ("method", "Reconstructor, adapted to the scan") in answer["figures"]
    assert answer["samples"] == 4
    assert answer["trust"]["learned"]
    assert answer["trust"]["hidden"]["own"] > 0
    assert answer["trust"]["adaptation"]["taken"] == 1
    titles = {one["name"]: one["title"] for one in methods_for(None)}
    assert titles["adapted"].endswith("(minutes)")
    assert set(SOLVERS) < set(titles) | {"zero_filled"}
