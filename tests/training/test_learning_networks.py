"""Networks that drop out: in every step the one whose weights move, no other, and from the step's generator alone."""

import copy

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import NoiseSettings
from rsd_med.diffusion.backbones import DDPMPlusPlus, DDPMPlusPlusSettings
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.teachers.ambient_tweedie import AmbientTweedie, AmbientTweedieSettings
from rsd_med.teachers.augmentation import Augmentation
from rsd_med.training.adam import AdamSettings
from rsd_med.training.student_stage import StudentSettings, StudentStage
from rsd_med.training.teacher_stage import TeacherSettings, TeacherStage
from tests.training.test_teacher_stage import equal, state
from tests.training.toys import Pixels, generator, pictures

NOISE = NoiseSettings(sigma=0.2).build()
OBJECTIVE = AmbientTweedie(NOISE, LogNormalLevels())
BACKBONE = DDPMPlusPlusSettings(
    features=8, multipliers=(1, 1), attention=(False, False), residual_blocks=1, dropout=0.2
)


def denoiser():
    """A fresh one whose zero layers are filled: dropout would not show in them."""
    built = build_denoiser(BACKBONE, DiffusionSettings(precision="float32"), 1, 0, generator_for(0, "weights"))
    source = generator(7)
    for parameter in built.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=source)
    return built


# Adam's first step is the sign of a gradient, rounding errors included, unless ε is far above them.
RATE = AdamSettings(learning_rate=1e-3, epsilon=1e-3)


def monitor():
    return ProximalMonitor(pictures(16), NOISE, Pixels(), seed=0)


def teacher_stage():
    settings = TeacherSettings(objective=AmbientTweedieSettings(), images=64, evaluate_samples=8, optimiser=RATE)
    return TeacherStage(settings, denoiser(), OBJECTIVE, HeunSettings(steps=2), monitor(), seed=0)


def student_stage():
    settings = StudentSettings(images=64, evaluate_samples=8, generator=RATE, fake=RATE)
    return StudentStage(settings, denoiser(), OBJECTIVE, monitor(), seed=0)


@pytest.fixture
def calls(monkeypatch):
    """Which networks were called, and whether they were learning."""
    noted = []
    forward = DDPMPlusPlus.forward

    def spied(self, x, noise_label, augmentation=None, generator=None):
        noted.append((self, generator is not None))
        return forward(self, x, noise_label, augmentation, generator)

    monkeypatch.setattr(DDPMPlusPlus, "forward", spied)
    return noted


def test_the_teacher_drops_out_in_its_step_and_not_where_it_is_drawn_from(calls):
    stage = teacher_stage()
    stage.step(pictures(4), 0, generator())
    assert calls == [(stage.denoiser.network, True)]
    calls.clear()
    stage.evaluate(4)
    assert calls
    assert not any(learning for _, learning in calls)


def test_of_the_students_networks_the_one_whose_weights_move_drops_out(calls):
    stage = student_stage()
    stage.step(pictures(4), 0, generator())
    generates, fake, teacher = (part.network for part in (stage.generator, stage.fake, stage.teacher))
    in_fake_step, in_generator_step = calls[:2], calls[2:]
    assert in_fake_step == [(generates, False), (fake, True)]
    assert in_generator_step == [(generates, True), (teacher, False), (fake, False)]
    calls.clear()
    stage.evaluate(4)
    assert calls
    assert not any(learning for _, learning in calls)


@pytest.mark.parametrize("build", [teacher_stage, student_stage])
def test_augmentation_is_told_to_who_learns_from_measurements_alone(build, monkeypatch):
    told, taught = [], []
    forward, objective = DDPMPlusPlus.forward, AmbientTweedie.__call__

    def spied(self, x, noise_label, augmentation=None, generator=None):
        told.append((self, augmentation))
        return forward(self, x, noise_label, augmentation, generator)

    def learned(self, network, measurement, generator):
        taught.append(measurement)
        return objective(self, network, measurement, generator)

    monkeypatch.setattr(DDPMPlusPlus, "forward", spied)
    monkeypatch.setattr(AmbientTweedie, "__call__", learned)
    stage, batch = build(), pictures(8)
    stage.augmentation = Augmentation(1.0, "permutations")
    stage.step(batch, 0, generator())
    learner = stage.denoiser if build is teacher_stage else stage.fake
    labels = [augmentation for network, augmentation in told if network is learner.network]
    assert bool(labels[0].any())
    assert labels[1:] in ([], [None])  # the fake score is also asked, in the generator's step
    assert all(augmentation is None for network, augmentation in told if network is not learner.network)
    if build is teacher_stage:
        same = ~labels[0].any(1)
        assert torch.equal(taught[0].data[same], batch.data[same])
        assert not torch.equal(taught[0].data, batch.data)
    told.clear()
    stage.evaluate(8)
    assert all(augmentation is None for _, augmentation in told)


@pytest.mark.parametrize("build", [teacher_stage, student_stage])
def test_a_step_depends_on_its_generator_alone(build):
    one, same, other = build(), build(), build()
    before = torch.random.get_rng_state()
    one.step(pictures(4), 0, generator(3))
    assert torch.equal(before, torch.random.get_rng_state())
    torch.rand(5)  # as if something else had drawn in the meantime
    same.step(pictures(4), 0, generator(3))
    assert equal(state(one), state(same))
    other.step(pictures(4), 0, generator(4))
    assert not equal(state(one), state(other))


@pytest.mark.parametrize("build", [teacher_stage, student_stage])
def test_resumed_with_dropout_equals_uninterrupted(build):
    straight, before, resumed = build(), build(), build()
    for images in (0, 4):
        straight.step(pictures(4), images, generator(images))
    before.step(pictures(4), 0, generator(0))
    networks, optimisers = copy.deepcopy(state(before))
    for network, weights in zip(resumed.networks().values(), networks, strict=True):
        network.load_state_dict(weights)
    for optimiser, moments in zip(resumed.optimisers().values(), optimisers, strict=True):
        optimiser.load_state_dict(moments)
    resumed.step(pictures(4), 4, generator(4))
    assert equal(state(straight), state(resumed))


@pytest.mark.parametrize("build", [teacher_stage, student_stage])
def test_passes_of_a_batch_drop_what_the_whole_would(build):
    whole, divided = build(), build()
    divided.micro_batch = 2
    for stage in (whole, divided):
        stage.step(pictures(4), 0, generator(3))
    for one, other in zip(state(whole)[0], state(divided)[0], strict=True):
        for name in one:
            assert torch.allclose(one[name], other[name], atol=2e-5), name
