"""The student's stage: noise in the fake step alone, fresh masks, frozen teacher, and the clean law at the end."""

import copy
from itertools import combinations

import pytest
import torch
from torch import nn

from rsd_med.corruptions import NoiseSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.students.sds import SDSSettings
from rsd_med.students.sid import SiDSettings
from rsd_med.teachers.ambient_fourier import AmbientFourier
from rsd_med.teachers.ambient_masked import AmbientMasked
from rsd_med.teachers.ambient_tweedie import AmbientTweedie
from rsd_med.training.adam import AdamSettings
from rsd_med.training.settings import EMASettings
from rsd_med.training.student_stage import StudentSettings, StudentStage
from tests.training.test_teacher_stage import equal, state
from tests.training.toys import UNDERSAMPLING, Pixels, generator, pictures, scans, tiny_denoiser

SIGMA, MEAN, STD = 0.2, 0.3, 0.5
NOISE = NoiseSettings(sigma=SIGMA).build()


class GaussianNetwork(nn.Module):
    """The exact denoiser of N(mean, std²), its mean and deviation learned: it can be teacher, fake or student."""

    def __init__(self, mean=MEAN, std=STD):
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.log_std = nn.Parameter(torch.tensor(std).log())

    def weight(self, sigma):
        return (sigma**2 + 0.25) / (0.5 * sigma) ** 2

    def learning(self, generator, augmentation=None):
        return self

    def settled(self):
        return copy.deepcopy(self).requires_grad_(False)

    def forward(self, x, sigma, context=None):
        variance = (2 * self.log_std).exp()
        return self.mean + variance / (variance + sigma.reshape(-1, 1, 1, 1) ** 2) * (x - self.mean)


class Spying:
    """Wraps a callable, noting what it is called with."""

    def __init__(self, inner):
        self.inner, self.calls = inner, []

    def __call__(self, *given):
        self.calls.append(given)
        return self.inner(*given)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def gaussian_stage(rate=0.02, images=100_000, alpha=1.2, loss=None, **settings):
    settings = StudentSettings(
        images=images,
        loss=loss or SiDSettings(alpha=alpha),
        generator=AdamSettings(learning_rate=rate, betas=(0.0, 0.99), decay="cosine"),
        fake=AdamSettings(learning_rate=2 * rate, betas=(0.0, 0.99), decay="cosine"),
        ema=EMASettings(half_life=2000),
        evaluate_samples=64,
        **settings,
    )
    monitor = ProximalMonitor(pictures(64, sigma=SIGMA), NOISE, Pixels(), seed=0)
    return StudentStage(settings, GaussianNetwork(), AmbientTweedie(NOISE, LogNormalLevels()), monitor, seed=0)


def fourier_stage(**settings):
    settings = StudentSettings(images=1000, evaluate_samples=16, **settings)
    monitor = ProximalMonitor(scans(16), UNDERSAMPLING, Pixels(), seed=0)
    teacher = tiny_denoiser(2, context_channels=1)
    return StudentStage(settings, teacher, AmbientFourier(UNDERSAMPLING, LogNormalLevels()), monitor, seed=0)


def masked_stage(sigma=0.0, **settings):
    corruption = InpaintingSettings(missing=0.5, sigma=sigma).build()
    like = corruption.corrupt(torch.randn(16, 2, 8, 8, generator=generator()), pictures(16, side=8), generator())
    settings = StudentSettings(images=1000, evaluate_samples=16, **settings)
    monitor = ProximalMonitor(like, corruption, Pixels(), seed=0)
    teacher = tiny_denoiser(2, context_channels=1)
    return StudentStage(settings, teacher, AmbientMasked(corruption, LogNormalLevels()), monitor, seed=0), like


def spied(stage):
    """Record generations, the objective's calls and the loss's calls."""
    generations = []
    generate = stage._generate

    def recorded(*given):
        generations.append(generate(*given))
        return generations[-1]

    stage._generate = recorded
    stage.objective = Spying(stage.objective)
    stage.loss = Spying(stage.loss)
    return generations, stage.objective.calls, stage.loss.calls


def test_noise_is_added_in_the_fake_step_and_not_in_the_generators():
    stage = gaussian_stage()
    generations, fake_calls, loss_calls = spied(stage)
    stage.step(pictures(512), 0, generator())
    (trained, measurement, _), (observed, _, teacher, fake, data_sigma, _) = fake_calls[0], loss_calls[0]
    for_fake, for_generator = generations
    noise = measurement.data - for_fake
    assert float(noise.std()) == pytest.approx(SIGMA, rel=0.03)
    assert float(measurement.data.var()) == pytest.approx(float(for_fake.var()) + SIGMA**2, rel=0.05)
    assert measurement.sigma.eq(torch.tensor(SIGMA)).all()
    assert torch.equal(observed, for_generator)  # A(G(z)) with A = I, and nothing added
    assert not torch.equal(for_fake, for_generator)  # z is independent
    assert not for_fake.requires_grad
    assert observed.requires_grad
    assert trained is fake is stage.fake
    assert teacher is stage.teacher
    assert data_sigma == SIGMA


def test_noise_is_fresh_at_each_step():
    stage = gaussian_stage()
    generations, fake_calls, _ = spied(stage)
    batch = pictures(16)
    for step in range(2):
        stage.step(batch, 16 * step, generator(step))
    first, second = ((call[1].data - x) for call, x in zip(fake_calls, generations[::2], strict=True))
    assert not torch.allclose(first, second)


def test_each_step_trains_its_own_network_and_never_the_teacher():
    stage = gaussian_stage()
    teacher = copy.deepcopy(stage.teacher.state_dict())
    assert not any(parameter.requires_grad for parameter in stage.teacher.parameters())
    before = copy.deepcopy([stage.fake.state_dict(), stage.generator.state_dict()])
    stage._fake_losses(pictures(16), generator()).mean().backward()
    assert all(parameter.grad is not None for parameter in stage.fake.parameters())
    assert all(parameter.grad is None for parameter in stage.generator.parameters())
    stage.fake.zero_grad()
    stage._generator_losses(pictures(16), generator()).mean().backward()
    assert all(parameter.grad is None for parameter in stage.fake.parameters())
    assert all(parameter.grad is not None for parameter in stage.generator.parameters())
    assert all(parameter.requires_grad for parameter in stage.fake.parameters())
    stage.generator.zero_grad()
    stage.step(pictures(16), 0, generator())
    after = [stage.fake.state_dict(), stage.generator.state_dict()]
    assert not any(equal(one, other) for one, other in zip(before, after, strict=True))
    assert equal(stage.teacher.state_dict(), teacher)


@pytest.mark.parametrize("fake_steps", [1, 3])
def test_the_fake_score_may_take_more_steps(fake_steps):
    stage = gaussian_stage(fake_steps=fake_steps)
    generations, fake_calls, loss_calls = spied(stage)
    stage.step(pictures(8), 0, generator())
    assert (len(fake_calls), len(loss_calls)) == (fake_steps, 1)
    noises = [call[1].data - images for call, images in zip(fake_calls, generations, strict=False)]
    for fresh in (generations, noises):  # each step has latents and corruptions of its own
        assert not any(torch.allclose(one, other) for one, other in combinations(fresh, 2))


def test_a_loss_that_asks_no_fake_score_has_none():
    """SDS: nothing is trained beside the generator, nothing stored, and the teacher stays frozen."""
    stage = gaussian_stage(loss=SDSSettings(), fake_steps=3)
    _, fake_calls, loss_calls = spied(stage)
    teacher = copy.deepcopy(stage.teacher.state_dict())
    figures = stage.step(pictures(16), 0, generator())
    assert not fake_calls
    assert len(loss_calls) == 1
    assert set(figures) == {"loss", "gradient_norm", "skipped"}
    assert set(stage.networks()) == {"generator", "generator_ema", "student"}
    assert set(stage.optimisers()) == {"generator"}
    assert equal(stage.teacher.state_dict(), teacher)
    assert not any(parameter.requires_grad for parameter in stage.teacher.parameters())


def test_sds_ends_at_the_mode_where_sid_ends_at_the_law():
    stage = gaussian_stage(rate=0.05, images=64 * 250, loss=SDSSettings())
    for step in range(250):
        stage.step(pictures(64, sigma=SIGMA), 64 * step, generator(step))
    images = stage.draw(256)
    assert float(images.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(images.std()) < 0.1 * STD


@pytest.mark.parametrize("alpha", [1.0, 1.2])
def test_the_student_ends_at_the_clean_law(alpha):
    """From a teacher that knows N(m, s²) and measurements of noise σ: the generator's law is N(m, s²), without σ."""
    steps, batch = 350, pictures(96, sigma=SIGMA)
    stage = gaussian_stage(rate=0.05, images=96 * steps, alpha=alpha)
    start = stage.draw(256)
    assert float(start.std()) < 0.2  # D(2.5 z; 2.5) of the teacher itself has far too little spread
    for step in range(steps):
        stage.step(batch, 96 * step, generator(step))
    images = stage.draw(512)
    assert float(images.mean()) == pytest.approx(MEAN, abs=0.02)
    assert float(images.std()) == pytest.approx(STD, rel=0.03)
    assert (STD**2 + SIGMA**2) ** 0.5 > 1.07 * STD  # the noisy law is outside what is accepted
    assert float(stage.fake.mean.detach()) == pytest.approx(MEAN, abs=0.04)
    assert float(stage.fake.log_std.detach().exp()) == pytest.approx(STD, rel=0.05)


def test_a_loss_that_is_not_finite_skips_its_step_alone():
    stage = gaussian_stage()
    stage.step(pictures(8), 0, generator())
    loss = stage.loss
    stage.loss = lambda *given: loss(*given) * float("nan")
    before = state(stage)
    figures = stage.step(pictures(8), 8, generator(1))
    assert figures["skipped"] == 1
    networks, optimisers = state(stage)
    names = list(stage.networks())
    kept = [equal(a, b) for a, b in zip(networks, before[0], strict=True)]
    assert dict(zip(names, kept, strict=True)) == {
        "generator": True, "fake_score": False, "generator_ema": False, "student": True
    }  # fmt: skip
    assert equal(optimisers[0]["state"], before[1][0]["state"])


def test_a_fake_loss_that_is_not_finite_leaves_the_fake_score_alone(monkeypatch):
    stage = gaussian_stage()
    stage.step(pictures(8), 0, generator())
    before = copy.deepcopy((stage.fake.state_dict(), stage.fake_optimiser.state_dict()["state"]))
    monkeypatch.setattr(AmbientTweedie, "__call__", lambda *_: next(stage.fake.parameters()) * float("inf"))
    assert stage.step(pictures(8), 8, generator(1))["skipped"] == 1
    assert equal((stage.fake.state_dict(), stage.fake_optimiser.state_dict()["state"]), before)


def test_undersampled_generations_have_fresh_masks_and_the_maps_of_the_batch():
    stage = fourier_stage()
    generations, fake_calls, loss_calls = spied(stage)
    batch = scans(8)
    stage.step(batch, 0, generator())
    measurement = fake_calls[0][1]
    assert torch.equal(measurement.operator.maps, batch.operator.maps)
    assert not torch.equal(measurement.operator.mask, batch.operator.mask)
    assert (measurement.operator.mask.sum((1, 2, 3)) == 8).all()
    expected = measurement.operator(torch.complex(generations[0][:, :1], generations[0][:, 1:]))
    assert torch.allclose(measurement.data, expected, atol=1e-5)
    observed, view, *_ = loss_calls[0]
    assert torch.equal(observed, generations[1])  # the whole image: the score describes it, mask given
    assert view.context.shape == (8, 1, 12, 12)
    assert (view.context[:, 0, 0].sum(1) == 6).all()  # two of eight lines hidden once more
    assert not torch.equal(view.context[:, 0, 0].bool(), batch.operator.mask[:, 0, 0])


def test_the_generators_maps_are_drawn_apart_from_those_it_is_measured_with():
    stage = fourier_stage()
    shown = []
    objective = stage.objective
    show = objective.show
    objective.show = lambda operator: shown.append(operator.maps) or show(operator)
    batch = scans(8)
    stage.step(batch, 0, generator())
    generator_of_fake, of_loss, generator_of_loss = shown
    assert torch.equal(of_loss, batch.operator.maps)
    for maps in (generator_of_fake, generator_of_loss):
        assert not torch.equal(maps, batch.operator.maps)
        everyone = batch.operator.maps.flatten(1)
        assert all((everyone == one).all(1).any() for one in maps.flatten(1))  # another order of the same


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_masked_generations_are_shown_asked_and_compared_through_fresh_masks(sigma):
    stage, batch = masked_stage(sigma)
    assert torch.isfinite(stage.draw(16)).all()
    generations, fake_calls, loss_calls = spied(stage)
    stage.step(batch, 0, generator())
    measurement = fake_calls[0][1]
    acquired = measurement.operator.mask
    assert not torch.equal(acquired, batch.operator.mask)
    assert not measurement.data.masked_select(~acquired).any()
    noise = (measurement.data - generations[0]).masked_select(acquired)
    assert float(noise.std()) == pytest.approx(sigma, rel=0.15)
    observed, view, *_ = loss_calls[0]
    assert torch.equal(observed, generations[1])
    assert torch.equal(view.compared, view.context.bool())
    assert not torch.equal(view.compared, acquired)
    assert float(view.compared.float().mean()) == pytest.approx(0.45, abs=0.05)  # (1 − p)(1 − δ)
    assert stage.step(batch, 16, generator(1))["skipped"] == 0


def test_steps_depend_on_their_generator_alone():
    one, other = fourier_stage(), fourier_stage()
    before = torch.random.get_rng_state()
    one.step(scans(4), 0, generator(3))
    assert torch.equal(before, torch.random.get_rng_state())
    other.step(scans(4), 0, generator(3))
    assert equal(state(one), state(other))


def test_the_data_of_a_batch_are_never_looked_at():
    """Distillation takes maps, masks and shapes from the measurements, never their signal."""
    one, other = fourier_stage(), fourier_stage()
    batch, empty = scans(4), scans(4)
    empty.data.zero_()
    for stage, given in ((one, batch), (other, empty)):
        stage.step(given, 0, generator(3))
    assert equal(state(one), state(other))


def test_the_student_is_the_average_of_smallest_proximal_distance():
    stage = gaussian_stage()
    distances = iter([3.0, 5.0, 2.0])
    stage.monitor.distance = lambda images: next(distances)
    kept = []
    for images in (100, 200, 300):
        stage.ema.module.mean.data.fill_(images)
        figures, _ = stage.evaluate(images)
        kept.append((float(stage.best.mean), stage.best_images, figures["best_proximal_fd"]))
    assert kept == [(100.0, 100, 3.0), (100.0, 100, 3.0), (300.0, 300, 2.0)]
    assert stage.networks()["student"] is stage.best
    fresh = gaussian_stage()
    fresh.load_extra_state(stage.extra_state())
    assert (fresh.best_distance, fresh.best_images) == (2.0, 300)


def test_all_networks_begin_as_the_teacher():
    stage = fourier_stage()
    states = [network.state_dict() for network in (stage.teacher, *stage.networks().values())]
    assert len(states) == 5
    assert all(equal(one, states[0]) for one in states[1:])
    assert len({id(network) for network in (stage.teacher, *stage.networks().values())}) == 5
