"""A batch in parts: every item meets the draws that it meets in the whole batch, and gradients add up."""

import pytest
import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.training.stage import TRIAL_STEPS
from tests.training.test_student_stage import fourier_stage, gaussian_stage
from tests.training.test_teacher_stage import teacher_stage
from tests.training.toys import generator, pictures, scans


def given_to(stage, names):
    """Note what the named networks of a stage are given."""
    given = {name: [] for name in names}
    for name in names:
        network = getattr(stage, name)
        network.register_forward_hook(
            lambda module, args, out, kept=given[name]: kept.append([a for a in args if a is not None])
        )
    return given


def joined(calls, passes):
    """Put the calls of each phase of a step together; passes follow one another within a phase."""
    phases = [calls[start : start + passes] for start in range(0, len(calls), passes)]
    return [[torch.cat(tensors) for tensors in zip(*phase, strict=True)] for phase in phases]


def compare(make, batch, networks, micro_batch, trained):
    whole, parted = make(), make()
    parted.micro_batch = micro_batch
    passes = len(batch) // micro_batch
    expected, found = given_to(whole, networks), given_to(parted, networks)
    first, second = whole.step(batch, 0, generator(3)), parted.step(batch, 0, generator(3))
    for name in networks:
        for one, other in zip(joined(expected[name], 1), joined(found[name], passes), strict=True):
            for x, y in zip(one, other, strict=True):
                torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)
    assert {name: float(value) for name, value in first.items()} == pytest.approx(
        {name: float(value) for name, value in second.items()}, rel=1e-4
    )
    for name in trained:
        for x, y in zip(getattr(whole, name).parameters(), getattr(parted, name).parameters(), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    return expected, found, passes


@pytest.mark.parametrize("micro_batch", [2, 4])
def test_a_teacher_in_passes_takes_the_step_of_the_whole_batch(micro_batch):
    expected, found, passes = compare(teacher_stage, pictures(8), ["denoiser"], micro_batch, ["denoiser"])
    for x, y in zip(joined(expected["denoiser"], 1)[0], joined(found["denoiser"], passes)[0], strict=True):
        assert torch.equal(x, y)  # data, noise and levels: not to rounding, but the same


def test_a_student_in_passes_takes_the_step_of_the_whole_batch():
    compare(gaussian_stage, pictures(8), ["fake", "teacher"], 2, ["fake", "generator"])


def test_a_student_in_passes_meets_the_same_masks_of_files():
    def stage():
        made = fourier_stage()
        made.objective.corruption = MultiCoilFourierSettings(
            acceleration=1.5, acs_lines=4, further_lines=2, mask="file"
        ).build()
        return made

    expected, found, passes = compare(stage, scans(8), ["generator", "fake", "teacher"], 4, ["fake", "generator"])
    for name in expected:
        for one, other in zip(joined(expected[name], 1), joined(found[name], passes), strict=True):
            assert torch.equal(one[2], other[2])


def test_a_student_in_passes_meets_the_same_masks_and_the_same_permuted_coil_maps():
    expected, found, passes = compare(fourier_stage, scans(8), ["generator", "fake"], 4, ["fake", "generator"])
    for one, other in zip(joined(expected["generator"], 1), joined(found["generator"], passes), strict=True):
        # The generator sees A^H A z: noise, mask and coil maps, the latter of other items of the batch.
        torch.testing.assert_close(one[0], other[0], rtol=0, atol=1e-6)
        assert torch.equal(one[1], other[1])
        assert torch.equal(one[2], other[2])


def test_passes_have_equal_sizes():
    stage = teacher_stage()
    stage.micro_batch = 5
    with pytest.raises(ProtocolError, match=r"engine\.micro_batch: a share of 7 images"):
        stage.step(pictures(7), 0, generator())


def test_items_with_a_loss_that_is_not_finite_are_named():
    stage = teacher_stage()
    stage.micro_batch = 2
    bad = pictures(8)
    bad.data[[1, 6], 0, 0, 0] = float("nan")
    assert stage.step(bad, 0, generator())["skipped"] == 1
    assert stage.offenders() == ["picture 1", "picture 6"]


@pytest.mark.parametrize(("most", "taken"), [(8, 12), (5, 4), (1, 1)])
def test_out_of_memory_a_step_is_taken_again_in_smaller_passes_with_the_same_result(most, taken, monkeypatch):
    """A card that holds so many images at once; what the failed passes left behind must not count."""

    def small_card(stage):
        real = stage.learn

        def learn(network, objective, measurement, draws):
            losses = real(network, objective, measurement, draws)
            if len(measurement) > most and taken != 12:
                torch.autograd.backward(losses.sum())  # memory runs out with gradients half made
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return losses

        monkeypatch.setattr(stage, "learn", learn)
        return stage

    said = []
    monkeypatch.setattr("rsd_med.training.stage.say_once", said.append)
    whole, small = teacher_stage(), small_card(teacher_stage())
    first, second = (stage.step(pictures(12), 0, generator(3)) for stage in (whole, small))
    assert float(first["loss"]) == pytest.approx(float(second["loss"]), rel=1e-5)
    assert float(first["gradient_norm"]) == pytest.approx(float(second["gradient_norm"]), rel=1e-4)
    for x, y in zip(whole.denoiser.parameters(), small.denoiser.parameters(), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-5)
    assert (small.micro_batch or 12) == taken
    assert all("engine.micro_batch" in sentence for sentence in said)
    assert bool(said) == (taken != 12)


def test_out_of_memory_is_an_error_where_one_image_does_not_fit_and_after_the_ranks_have_agreed(monkeypatch):
    def never(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    stage = teacher_stage()
    stage.micro_batch = 1
    monkeypatch.setattr(stage, "learn", never)
    with pytest.raises(torch.OutOfMemoryError):
        stage.step(pictures(2), 0, generator())

    stage = teacher_stage()
    monkeypatch.setattr(type(stage.distribution), "world_size", 2)
    for step in range(TRIAL_STEPS):
        stage.step(pictures(2), step, generator())
    monkeypatch.setattr(stage, "learn", never)
    with pytest.raises(torch.OutOfMemoryError):
        stage.step(pictures(2), 0, generator())
    assert stage.micro_batch is None
