"""The teacher's step: clipped, averaged, and skipped where a gradient is not finite."""

import copy

import pytest
import torch
from torch import nn

from rsd_med.base.errors import DivergedError
from rsd_med.corruptions import NoiseSettings
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.teachers.ambient_tweedie import AmbientTweedie, AmbientTweedieSettings
from rsd_med.training.adam import AdamSettings
from rsd_med.training.loop import Loop
from rsd_med.training.muon import MuonSettings
from rsd_med.training.optim import take_step
from rsd_med.training.settings import EMASettings, EngineSettings
from rsd_med.training.signals import StopRequest
from rsd_med.training.teacher_stage import TeacherSettings, TeacherStage
from tests.training.toys import Kept, Pixels, QuietJournal, generator, pictures, run_folder, tiny_denoiser

NOISE = NoiseSettings(sigma=0.2).build()


def teacher_stage(images=400, batch_size=8, **optimiser):
    settings = TeacherSettings(
        objective=AmbientTweedieSettings(),
        images=images,
        batch_size=batch_size,
        optimiser=AdamSettings(learning_rate=1e-2, **optimiser),
        ema=EMASettings(half_life=40),
        evaluate_samples=16,
    )
    monitor = ProximalMonitor(pictures(32), NOISE, Pixels(), seed=0)
    objective = AmbientTweedie(NOISE, LogNormalLevels())
    return TeacherStage(settings, tiny_denoiser(1), objective, HeunSettings(steps=3), monitor, seed=0)


def state(stage):
    """Everything a step may change."""
    return copy.deepcopy(
        (
            [network.state_dict() for network in stage.networks().values()],
            [optimiser.state_dict() for optimiser in stage.optimisers().values()],
        )
    )


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("limit", [0.01, 1e6, None])
def test_gradients_are_scaled_to_the_limit(limit):
    module = nn.Linear(3, 3)
    settings = AdamSettings(learning_rate=1.0, max_gradient_norm=limit)
    optimiser = torch.optim.SGD(module.parameters(), lr=0, fused=True)
    before = copy.deepcopy(module.state_dict())
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    norm, skipped = take_step(module, optimiser, settings, 0, 100)
    moved = torch.cat([(module.state_dict()[name] - before[name]).flatten() for name in before]).norm()
    assert not skipped
    assert float(norm) == pytest.approx(12**0.5)
    assert float(moved) == pytest.approx(min(12**0.5, limit or 12**0.5), rel=1e-4)
    assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("limit", [1.0, None])
@pytest.mark.parametrize("kind", [AdamSettings, MuonSettings])
def test_a_gradient_that_is_not_finite_changes_nothing(value, limit, kind):
    module = nn.Linear(16, 16)
    settings = kind(max_gradient_norm=limit, warmup_images=10)
    optimiser = settings.build(module)
    module(torch.ones(1, 16)).sum().backward()
    take_step(module, optimiser, settings, 5, 100)
    before = copy.deepcopy((module.state_dict(), optimiser.state_dict()["state"]))
    module(torch.ones(1, 16)).sum().backward()
    module.weight.grad[0, 1] = value
    norm, skipped = take_step(module, optimiser, settings, 8, 100)
    assert skipped
    assert not abs(norm) < float("inf")
    assert equal((module.state_dict(), optimiser.state_dict()["state"]), before)
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_rate_follows_the_images():
    module = nn.Linear(1, 1)
    settings = AdamSettings(learning_rate=1e-2, warmup_images=100)
    optimiser = settings.build(module)
    module(torch.ones(1, 1)).sum().backward()
    take_step(module, optimiser, settings, 25, 1000)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(2.5e-3)
    assert optimiser.param_groups[0]["betas"] == (0.9, 0.999)


def test_steps_learn_and_the_average_follows():
    stage = teacher_stage()
    start = copy.deepcopy(stage.denoiser.state_dict())
    batch = pictures(64)

    def loss():
        with torch.no_grad():
            return float(stage.objective(stage.denoiser, batch, generator(99)).mean())

    before = loss()
    for i in range(60):
        stage.step(batch, 64 * i, generator(i))
    assert loss() < 0.9 * before
    online, average = stage.denoiser.network.kernel, stage.ema.module.network.kernel
    assert not torch.equal(online, start["network.kernel"])
    assert 0 < (online - average).norm() < (online - start["network.kernel"]).norm()
    assert stage.networks()["teacher"] is stage.ema.module


def learnt(stage):
    """Weights and moments: what only a step with finite gradients may change."""
    return copy.deepcopy((stage.denoiser.state_dict(), stage.optimiser.state_dict()["state"]))


def test_a_bad_batch_is_skipped_and_the_average_moves_on_towards_the_weights():
    stage = teacher_stage()
    assert stage.step(pictures(8), 0, generator())["skipped"] == 0
    before, average = learnt(stage), stage.ema.module.network.kernel.clone()
    bad = pictures(8)
    bad.data[3, 0, 1, 1] = float("nan")
    figures = stage.step(bad, 8, generator(1))
    assert figures["skipped"] == 1
    assert equal(learnt(stage), before)
    weight = 1 - 0.5 ** (8 / (0.05 * 16))  # of a half-life that ramps up
    expected = average + weight * (stage.denoiser.network.kernel.detach() - average)
    torch.testing.assert_close(stage.ema.module.network.kernel, expected)
    assert stage.step(pictures(8), 16, generator(2))["skipped"] == 0
    assert not equal(learnt(stage), before)


def test_ten_bad_batches_end_the_run_and_name_the_items(tmp_path):
    data = pictures(8)
    data.data[5] = float("inf")
    stage = teacher_stage(images=8000, batch_size=8)
    start = copy.deepcopy([network.state_dict() for network in stage.networks().values()])
    run = run_folder(tmp_path)
    loop = Loop(
        Kept(data), EngineSettings(), run, QuietJournal(), 0, torch.device("cpu"), StopRequest(), lambda *_: None
    )  # fmt: skip
    with pytest.raises(DivergedError, match="picture 5"):
        loop.drive(stage, 0)
    assert equal([network.state_dict() for network in stage.networks().values()], start)
    assert run.checkpoints.newest() == (None, [])


def test_a_step_depends_on_its_generator_alone():
    one, other = teacher_stage(), teacher_stage()
    before = torch.random.get_rng_state()
    one.step(pictures(8), 0, generator(3))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(1)
    other.step(pictures(8), 0, generator(3))
    torch.random.set_rng_state(before)
    assert equal(state(one), state(other))


def test_evaluation_draws_from_the_average_and_needs_no_clean_data():
    stage = teacher_stage()
    before = state(stage)
    (first, samples), (again, _) = stage.evaluate(0), stage.evaluate(8)
    assert first == again
    assert first["proximal_fd"] > 0
    assert equal(state(stage), before)
    assert torch.equal(stage.draw(5), samples[:5])
    assert stage.draw(5).shape == (5, 1, 4, 4)
