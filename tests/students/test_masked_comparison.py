"""Students that are compared through masks: the formula, and that the whole law is learned all the same."""

import pytest
import torch

from rsd_med.diffusion.view import View
from rsd_med.operators import SamplingMask, complex_or_real_noise
from rsd_med.students.dmd import DMDSettings
from rsd_med.students.sid import SiDSettings
from tests.diffusion.gaussian import GaussianDenoiser, MaskedGaussianDenoiser, generator

MEAN = torch.tensor([0.5, -0.3, 0.1])
COVARIANCE = torch.tensor([[0.30, 0.20, -0.05], [0.20, 0.40, 0.10], [-0.05, 0.10, 0.20]])


def masked(view_of, y, settings):
    teacher, fake = GaussianDenoiser(0.7, 0.4), GaussianDenoiser(-0.2, 0.9)
    loss = settings.build()(y, view_of, teacher, fake, 0.0, generator())
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    source = generator()
    sigma = settings.draw_levels(len(y), 0.0, source)
    x = view_of.project(y.detach() + complex_or_real_noise(y.detach(), sigma, source))
    return loss.detach(), gradient, teacher(x, sigma), fake(x, sigma)


def test_the_product_and_its_weight_are_those_of_the_pixels_compared():
    mask = torch.rand(6, 1, 3, 3, generator=generator(3)) < 0.5
    view = View(SamplingMask(mask), mask.float(), mask)
    assert mask.any(-1).any(-1).all()
    y = torch.randn(6, 2, 3, 3, generator=generator(5)).requires_grad_()
    loss, gradient, a, b = masked(view, y, SiDSettings())
    for i in range(6):
        at = mask[i, 0]
        difference, toward = (a - b)[i][:, at], (a - y.detach())[i][:, at]
        expected = (difference * (toward - 1.2 * difference)).sum() / toward.abs().mean()
        assert float(loss[i]) == pytest.approx(float(expected), rel=1e-4)
    assert not gradient.masked_select(~mask).any()
    _, gradient, a, b = masked(view, y, DMDSettings())
    for i in range(6):
        at = mask[i, 0]
        expected = (b - a)[i][:, at] / (a - y.detach())[i][:, at].abs().mean()
        assert torch.allclose(gradient[i][:, at], expected, rtol=1e-4, atol=1e-6)
    assert not gradient.masked_select(~mask).any()


@pytest.mark.parametrize("compared", ["shown", "everywhere"])
def test_a_gaussian_generator_is_moved_to_the_teachers_law_through_masks(compared):
    """G(z) = F z + b against N(m, C), half of the pixels shown, fakes exact at every step: mean and covariance.

    Both ways of comparing are unbiased: the shown pixels give the score of the masked law, the hidden ones the
    regression on what is shown, which equal laws share.
    """
    factor, shift = torch.eye(3).mul(0.3).requires_grad_(), torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.Adam([factor, shift], lr=0.03, betas=(0.0, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 200)
    loss, teacher, source = SiDSettings().build(), MaskedGaussianDenoiser(MEAN, COVARIANCE), generator(1)
    for _ in range(200):
        observed = (torch.randn(256, 3, generator=source) @ factor.T + shift)[:, None, None]
        fake = MaskedGaussianDenoiser(shift.detach(), (factor @ factor.T).detach())
        mask = torch.rand(256, 1, 1, 3, generator=source) < 0.6
        view = View(SamplingMask(mask), mask.float(), mask if compared == "shown" else None)
        value = loss(observed, view, teacher, fake, 0.0, source).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    assert torch.allclose(shift.detach(), MEAN, atol=0.02)
    assert torch.allclose((factor @ factor.T).detach(), COVARIANCE, atol=0.03)
