"""The adversarial term: its formulas by hand, and a student that mends its teacher's error."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.students.adversarial import AdversarialSettings, Adversary
from rsd_med.students.sid import SiDSettings
from rsd_med.teachers.ambient_tweedie import AmbientTweedie
from rsd_med.training.adam import AdamSettings
from rsd_med.training.settings import EMASettings
from rsd_med.training.student_stage import StudentSettings, StudentStage
from tests.training.test_student_stage import MEAN, NOISE, SIGMA, STD, GaussianNetwork
from tests.training.toys import Pixels, generator, pictures

WEIGHTS = torch.tensor([0.7, -1.9, 0.3])


class Linear(nn.Module):
    """Three features of each pixel: multiples of its value, which is scaled by c_in."""

    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(WEIGHTS.clone())

    def features(self, x, noise_label):
        return self.weights.reshape(1, -1, 1, 1) * x


def drawn(y, source):
    """The noisy data and c_in, in float64, by the formulas: levels first, noise after them."""
    sigma = SiDSettings().draw_levels(len(y), SIGMA, source)
    scale = (sigma.double() ** 2 - SIGMA**2).clamp_min(0).sqrt().reshape(-1, 1, 1, 1)
    noisy = y.double() + scale * complex_or_real_noise(y, 1.0, source).double()
    return noisy, 1 / (sigma.double().reshape(-1, 1, 1, 1) ** 2 + 0.25).sqrt()


def test_losses_and_gradients_are_the_formulas():
    settings = AdversarialSettings(weight=0.3, critic_weight=0.2)
    adversary = Adversary(settings, SiDSettings(), AmbientTweedie(NOISE, LogNormalLevels()))
    fake, measured, generated = Denoiser(Linear()), pictures(5, seed=1), pictures(5, seed=2)
    generated.data.requires_grad_()

    critic = adversary.critic_losses(fake, measured, generated, generator(3))
    (of_weights,) = torch.autograd.grad(critic.sum(), fake.network.weights)
    source = generator(3)
    (real, real_scale), (false, false_scale) = drawn(measured.data, source), drawn(generated.data.detach(), source)
    judged = WEIGHTS.double().mean() * real_scale * real, WEIGHTS.double().mean() * false_scale * false
    numbers = 16  # of an image of 4 × 4
    expected = 0.2 * numbers * ((1 + (-judged[0]).exp()).log() + (1 + judged[1].exp()).log()).mean((1, 2, 3))
    torch.testing.assert_close(critic.detach().double(), expected, rtol=1e-5, atol=1e-6)
    slope = (-judged[0].neg().sigmoid() * real_scale * real + judged[1].sigmoid() * false_scale * false) / 3
    torch.testing.assert_close(of_weights.double(), (0.2 * slope.sum()).expand(3), rtol=1e-4, atol=1e-5)

    losses = adversary.generator_losses(fake, generated, generator(4))
    (of_images,) = torch.autograd.grad(losses.sum(), generated.data)
    noisy, scale = drawn(generated.data.detach(), generator(4))
    logits = WEIGHTS.double().mean() * scale * noisy
    expected = 0.3 * numbers * (1 + (-logits).exp()).log().mean((1, 2, 3))
    torch.testing.assert_close(losses.detach().double(), expected, rtol=1e-5, atol=1e-6)
    by_hand = -0.3 * logits.neg().sigmoid() * WEIGHTS.double().mean() * scale  # numbers and places cancel
    torch.testing.assert_close(of_images.double(), by_hand, rtol=1e-4, atol=1e-6)


class JudgingNetwork(GaussianNetwork):
    """Judges by value and square of each pixel: Gaussian laws differ in nothing else. Noise makes it less sure."""

    def __init__(self, std):
        super().__init__(std=std)
        self.judgement = nn.Parameter(torch.zeros(3))

    def features(self, x, sigma, context=None):
        offset, linear, square = self.judgement
        variance = sigma.reshape(-1, 1, 1, 1) ** 2 + STD**2
        return (offset + linear * x + square * (x**2 / variance - 1)) * STD**2 / variance


def distilled(adversarial, steps=150, batch=64):
    """Distil a teacher whose spread is too small by a third; return the student's mean and spread."""
    rates = {"betas": (0.0, 0.99), "decay": "cosine"}
    settings = StudentSettings(
        images=batch * steps,
        batch_size=batch,
        adversarial=adversarial,
        generator=AdamSettings(learning_rate=0.04, **rates),
        fake=AdamSettings(learning_rate=0.12, **rates),
        ema=EMASettings(half_life=1000),
        evaluate_samples=64,
    )
    monitor = ProximalMonitor(pictures(64, sigma=SIGMA), NOISE, Pixels(), seed=0)
    objective = AmbientTweedie(NOISE, LogNormalLevels())
    stage = StudentStage(settings, JudgingNetwork(STD * 2 / 3), objective, monitor, seed=0)
    for step in range(steps):
        stage.step(pictures(batch, sigma=SIGMA, seed=step), batch * step, generator(step))
    images = stage.draw(512)
    return float(images.mean()), float(images.std())


def test_what_the_teacher_has_wrong_is_learned_from_the_measurements():
    """Without the critic the student ends at the teacher's spread; with it, near that of the images behind the data.

    Both pull, so that it ends between the two; the spread of the noisy data is larger still.
    """
    mean, spread = distilled(None)
    assert spread == pytest.approx(STD * 2 / 3, rel=0.05)
    mean, spread = distilled(AdversarialSettings(weight=10.0, critic_weight=1.0))
    assert mean == pytest.approx(MEAN, abs=0.04)
    assert 0.88 * STD < spread < 1.02 * STD


def test_the_generator_hears_the_critic_after_its_share_of_the_stage():
    settings = StudentSettings(images=1000, adversarial=AdversarialSettings(start=0.25))
    monitor = ProximalMonitor(pictures(64, sigma=SIGMA), NOISE, Pixels(), seed=0)
    stage = StudentStage(settings, JudgingNetwork(STD), AmbientTweedie(NOISE, LogNormalLevels()), monitor, seed=0)
    heard: list[int] = []
    stage.adversary.generator_losses = lambda fake, generated, draws: heard.append(len(generated)) or 0.0
    for images in (0, 200, 250, 600):
        stage.step(pictures(8), images, generator(images))
        assert float(stage.fake.judgement.detach().abs().min()) > 0  # the critic learns from the first step on
    assert heard == [8, 8]


def test_a_loss_without_fake_score_has_no_critic():
    with pytest.raises(ValidationError, match="sds trains none"):
        StudentSettings(images=10, loss={"kind": "sds"}, adversarial={})
