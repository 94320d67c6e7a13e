"""DMD: its gradient, that nothing passes through the networks, and that it moves a Gaussian to the teacher's law."""

import pytest
import torch

from rsd_med.diffusion.view import View
from rsd_med.operators import complex_or_real_noise
from rsd_med.students.dmd import DMDSettings
from tests.diffusion.gaussian import GaussianDenoiser, generator

MEAN, STD = 0.7, 0.4


def test_the_gradient_is_the_weighted_gap():
    """``ω (b − a)``: from the score of the generations to that of the data, and nothing else."""
    y = torch.randn(6, 2, 3, 3, generator=generator(5)).requires_grad_()
    teacher, fake = GaussianDenoiser(MEAN, STD), GaussianDenoiser(-0.2, 0.9)
    loss = DMDSettings().build()(y, View(), teacher, fake, 0.0, generator())
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    source = generator()
    sigma = DMDSettings().draw_levels(6, 0.0, source)
    noisy = y.detach() + complex_or_real_noise(y.detach(), sigma, source)
    a, b = teacher(noisy, sigma), fake(noisy, sigma)
    weight = 1 / (y.detach() - a).abs().mean((1, 2, 3), keepdim=True)
    assert torch.allclose(gradient, weight * (b - a), rtol=1e-4, atol=1e-6)


def test_the_published_range():
    levels = DMDSettings(t_min=0.02, t_max=0.98).draw_levels(20_000, 0.0, generator())
    assert float(levels.min()) == pytest.approx(0.0031, rel=0.05)
    assert float(levels.max()) == pytest.approx(71, rel=0.02)


def test_networks_keep_no_graph():
    """A teacher that would carry a gradient is not asked for one: the step needs no backward pass through it."""
    scale = torch.ones((), requires_grad=True)
    y = torch.randn(4, 1, 3, 3, generator=generator(5)).requires_grad_()
    loss = DMDSettings().build()(y, View(), lambda x, *_: scale * x, lambda x, *_: 0.5 * x, 0.0, generator())
    loss.sum().backward()
    assert scale.grad is None
    assert y.grad is not None


def test_equal_networks_leave_nothing_to_learn():
    y = torch.randn(4, 1, 3, 3, generator=generator(5)).requires_grad_()
    same = GaussianDenoiser(MEAN, STD)
    (gradient,) = torch.autograd.grad(DMDSettings().build()(y, View(), same, same, 0.0, generator()).sum(), y)
    assert not gradient.any()


@pytest.mark.parametrize("start", [(0.8, 0.0), (0.2, 1.5)])
def test_a_gaussian_generator_is_moved_to_the_teachers_law(start):
    """G(z) = a z + b against N(m, s²), the fake score exact at every step: mean and deviation within 1 %."""
    a, b = (torch.tensor(value, requires_grad=True) for value in start)
    optimiser = torch.optim.Adam([a, b], lr=0.03, betas=(0.0, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    loss, teacher, source = DMDSettings().build(), GaussianDenoiser(MEAN, STD), generator(1)
    for _ in range(250):
        observed = a * torch.randn(128, 1, 4, 4, generator=source) + b
        fake = GaussianDenoiser(float(b.detach()), float(a.detach()))
        value = loss(observed, View(), teacher, fake, 0.0, source).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    assert float(b.detach()) == pytest.approx(MEAN, rel=0.01)
    assert abs(float(a.detach())) == pytest.approx(STD, rel=0.01)
