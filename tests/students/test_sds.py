"""SDS: its gradient, that it asks no fake score, and where it ends: at the teacher's modes, not at its law."""

import math

import pytest
import torch

from rsd_med.diffusion.schedules import karras_fraction
from rsd_med.diffusion.view import View
from rsd_med.operators import complex_or_real_noise
from rsd_med.students.dmd import DMDSettings
from rsd_med.students.sds import SDSSettings
from tests.diffusion.gaussian import GaussianDenoiser, generator

MEAN, STD = 0.7, 0.4


def never(*_):
    raise AssertionError("the fake score was asked")


def at_one_level(sigma):
    place = karras_fraction(sigma)
    return SDSSettings(t_min=place, t_max=place + 1e-6).build()


def test_the_gradient_is_the_weighted_step_to_the_teachers_answer():
    y = torch.randn(6, 2, 3, 3, generator=generator(5)).requires_grad_()
    teacher = GaussianDenoiser(MEAN, STD)
    loss = SDSSettings().build()(y, View(), teacher, never, 0.0, generator())
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    source = generator()
    sigma = SDSSettings().draw_levels(6, 0.0, source)
    a = teacher(y.detach() + complex_or_real_noise(y.detach(), sigma, source), sigma)
    weight = 1 / (y.detach() - a).abs().mean((1, 2, 3), keepdim=True)
    assert torch.allclose(gradient, weight * (y.detach() - a), rtol=1e-4, atol=1e-6)


def test_it_is_distribution_matching_with_a_fake_score_that_knows_one_image():
    """``b = y_θ``: the mean of a law that is y_θ itself."""
    y = torch.randn(6, 1, 3, 3, generator=generator(5)).requires_grad_()
    teacher = GaussianDenoiser(MEAN, STD)
    one = SDSSettings().build()(y, View(), teacher, never, 0.0, generator())
    other = DMDSettings().build()(y, View(), teacher, lambda *_: y.detach(), 0.0, generator())
    gradients = [torch.autograd.grad(loss.sum(), y)[0] for loss in (one, other)]
    assert torch.allclose(*gradients, rtol=1e-5)


def test_the_teacher_keeps_no_graph():
    scale = torch.ones((), requires_grad=True)
    y = torch.randn(4, 1, 3, 3, generator=generator(5)).requires_grad_()
    SDSSettings().build()(y, View(), lambda x, *_: scale * x, never, 0.0, generator()).sum().backward()
    assert scale.grad is None
    assert y.grad is not None


@pytest.mark.parametrize("level", [0.1, 0.5, 2.0])
def test_the_expected_gradient_on_a_gaussian(level):
    """Up to ω: ``E[y − a | y] = σ²/(s² + σ²) (y − m)``, the pull of each generation to the mean by itself.

    From ``a = m + s²/(s² + σ²) (y + σ n − m)``. It does not know the spread of the generations, and vanishes at y = m
    alone: at the teacher's own law, N(m, s²), it does not.
    """
    teacher = GaussianDenoiser(MEAN, STD)
    y = torch.linspace(-1, 2, 7).reshape(-1, 1, 1, 1).expand(-1, 1, 200, 200).clone().requires_grad_()
    loss = at_one_level(level)(y, View(), teacher, never, 0.0, generator())
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    # ω is the same number for all of the 40 000 pixels of an item: E|y − a| of a normal law of known mean and spread.
    shrink = level**2 / (STD**2 + level**2)
    offset, spread = shrink * (y.detach()[:, 0, 0, 0] - MEAN), (1 - shrink) * level
    folded = spread * math.sqrt(2 / math.pi) * (-(offset**2) / (2 * spread**2)).exp()
    folded = folded + offset * torch.erf(offset / (spread * math.sqrt(2)))
    assert torch.allclose(gradient.mean((1, 2, 3)), offset / folded, atol=0.02)


@pytest.mark.parametrize("start", [(0.4, 0.0), (0.8, 1.5)])
def test_a_gaussian_generator_is_moved_to_the_teachers_mode(start):
    """G(z) = a z + b against N(m, s²): the mean is learned and the spread is lost, where DMD and SiD find both."""
    a, b = (torch.tensor(value, requires_grad=True) for value in start)
    optimiser = torch.optim.Adam([a, b], lr=0.03, betas=(0.0, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    loss, teacher, source = SDSSettings().build(), GaussianDenoiser(MEAN, STD), generator(1)
    for _ in range(250):
        observed = a * torch.randn(128, 1, 4, 4, generator=source) + b
        value = loss(observed, View(), teacher, never, 0.0, source).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    assert float(b.detach()) == pytest.approx(MEAN, rel=0.01)
    assert abs(float(a.detach())) < 0.02 * STD


def test_of_two_modes_each_generation_takes_the_nearer():
    """Against ½ N(−1, s²) + ½ N(1, s²) generations end at −1 or 1 by where they began, none in between."""

    def mixture(x, sigma, _):
        variance = STD**2 / 4 + sigma.reshape(-1, 1, 1, 1) ** 2
        centre = torch.tanh(x / variance)  # the posterior mean of the mode's place
        return centre + STD**2 / 4 / variance * (x - centre)

    begun = torch.tensor([-1.6, -0.5, 0.5, 1.6]).reshape(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    y, source, loss = begun.clone().requires_grad_(), generator(2), at_one_level(0.2)
    for step in range(400):
        (gradient,) = torch.autograd.grad(loss(y, View(), mixture, never, 0.0, source).sum(), y)
        y = (y - 0.05 * (1 - step / 400) * gradient).detach().requires_grad_()
    assert torch.allclose(y.detach().mean((1, 2, 3)), torch.tensor([-1.0, -1.0, 1.0, 1.0]), atol=0.02)
