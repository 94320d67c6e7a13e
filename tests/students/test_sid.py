"""SiD: its formula, what carries gradients, and that it moves a Gaussian generator to the teacher's law."""

import pytest
import torch

from rsd_med.diffusion.schedules import karras_fraction
from rsd_med.diffusion.view import View
from rsd_med.operators import SamplingMask, complex_or_real_noise
from rsd_med.students.sid import SiDSettings
from tests.diffusion.gaussian import GaussianDenoiser, generator

MEAN, STD = 0.7, 0.4


def gaussian(observed, alpha=1.2, teacher=None, fake=None, seed=0, **settings):
    """The loss per item between two Gaussian laws."""
    teacher = teacher or GaussianDenoiser(MEAN, STD)
    fake = fake or GaussianDenoiser(-0.2, 0.9)
    loss = SiDSettings(alpha=alpha, **settings).build()
    return loss(observed, View(), teacher, fake, 0.2, generator(seed))


def images(count=6):
    return torch.randn(count, 2, 3, 3, generator=generator(5))


def written_out(y, alpha, seed=0):
    """The loss and its gradient by hand, in float64: D(x) = c + g x for both networks."""
    source = generator(seed)
    sigma = SiDSettings(alpha=alpha).draw_levels(len(y), 0.2, source)
    x = (y + complex_or_real_noise(y, sigma, source)).double()
    s = sigma.double().reshape(-1, 1, 1, 1)
    gain_a, gain_b = STD**2 / (STD**2 + s**2), 0.9**2 / (0.9**2 + s**2)
    a, b = MEAN + gain_a * (x - MEAN), -0.2 + gain_b * (x + 0.2)
    y = y.double()
    weight = 1 / (y - a).abs().mean((1, 2, 3), keepdim=True)
    loss = weight * (a - b) * ((a - y) - alpha * (a - b))
    through_networks = (gain_a - gain_b) * ((a - y) - alpha * (a - b)) + (a - b) * (gain_a - alpha * (gain_a - gain_b))
    direct = -(a - b)
    return loss.sum((1, 2, 3)), weight * (direct + through_networks), weight * direct


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
def test_loss_and_gradient_are_the_formula(alpha):
    """No gradient through ω; gradient through the inputs of both networks as well as directly."""
    y = images().requires_grad_()
    found = gaussian(y, alpha)
    (gradient,) = torch.autograd.grad(found.sum(), y)
    loss, expected, direct = written_out(y.detach(), alpha)
    assert torch.allclose(found.detach().double(), loss, rtol=1e-4)
    assert torch.allclose(gradient.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert (expected - direct).abs().max() > 0.1 * expected.abs().max()


@pytest.mark.parametrize("silent", ["teacher", "fake", "both"])
def test_a_network_under_no_grad_gives_another_gradient(silent):
    networks = {"teacher": GaussianDenoiser(MEAN, STD), "fake": GaussianDenoiser(-0.2, 0.9)}

    def without_gradient(network):
        def denoise(*given):
            with torch.no_grad():
                return network(*given)

        return denoise

    muted = {
        name: without_gradient(network) if silent in (name, "both") else network for name, network in networks.items()
    }
    y = images().requires_grad_()
    (gradient,) = torch.autograd.grad(gaussian(y, **networks).sum(), y)
    (wrong,) = torch.autograd.grad(gaussian(y, **muted).sum(), y)
    assert (gradient - wrong).norm() > 0.05 * gradient.norm()
    if silent == "both":  # then the loss has become distribution matching: −ω (a − b)
        assert torch.allclose(wrong.double(), written_out(y.detach(), 1.2)[2], rtol=1e-3, atol=1e-4)


def test_a_gradient_through_the_weight_would_differ():
    """The weight is a function of y too; were it differentiated, the gradient would be another."""
    y = images().requires_grad_()
    (gradient,) = torch.autograd.grad(gaussian(y).sum(), y)
    shifted = y.detach().clone().requires_grad_()
    loss = gaussian(shifted)
    scale = written_out(y.detach(), 1.2)[0].float() / loss.detach()
    assert torch.allclose(scale, torch.ones_like(scale), rtol=1e-3)
    step = 1e-2
    probe = torch.zeros_like(y)
    probe[:, 0, 0, 0] = step
    upper, lower = gaussian(y.detach() + probe), gaussian(y.detach() - probe)
    total = (upper - lower) / (2 * step)  # the full derivative, ω's included
    assert not torch.allclose(total, gradient[:, 0, 0, 0], rtol=0.05, atol=1e-3)


def test_the_weight_has_a_ceiling():
    """Where y already is the teacher's answer, ω stays at most 1e5 and the loss finite."""
    y = torch.zeros(2, 1, 2, 2)
    loss = SiDSettings().build()
    found = loss(y, View(), lambda x, *_: 0 * x, lambda x, *_: 0 * x + 1, 0.0, generator())
    assert torch.allclose(found, torch.full((2,), 1e5 * -1.2 * 4), rtol=1e-4)


def test_equal_networks_leave_nothing_to_learn():
    y = images().requires_grad_()
    same = GaussianDenoiser(MEAN, STD)
    loss = gaussian(y, teacher=same, fake=same)
    (gradient,) = torch.autograd.grad(loss.sum(), y)
    assert not loss.any()
    assert not gradient.any()


def test_both_networks_are_shown_the_same_view():
    calls = []
    context = torch.ones(4, 1, 3, 3)
    left = torch.arange(3) < 2

    def network(x, sigma, context):
        calls.append((x, sigma, context))
        return 0.5 * x

    SiDSettings().build()(
        images(4), View(SamplingMask(left.reshape(1, 1, 3)), context), network, network, 0.0, generator()
    )
    (x, sigma, told), (other, level, also) = calls
    assert x.equal(other)
    assert sigma.equal(level)
    assert told is also is context
    source = generator()
    drawn = SiDSettings().draw_levels(4, 0.0, source)
    assert torch.equal(x, left * (images(4) + complex_or_real_noise(images(4), drawn, source)))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("start", [(0.8, 0.0), (0.2, 1.5)])
def test_a_gaussian_generator_is_moved_to_the_teachers_law(alpha, start):
    """G(z) = a z + b against N(m, s²), the fake score exact at every step: mean and deviation within 1 %.

    Sixteen independent pixels, so that ω averages over a few numbers as it does in images.
    """
    a, b = (torch.tensor(value, requires_grad=True) for value in start)
    optimiser = torch.optim.Adam([a, b], lr=0.03, betas=(0.0, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 250)
    loss, teacher, source = SiDSettings(alpha=alpha).build(), GaussianDenoiser(MEAN, STD), generator(1)
    for _ in range(250):
        observed = a * torch.randn(128, 1, 4, 4, generator=source) + b
        fake = GaussianDenoiser(b.detach(), a.detach())
        value = loss(observed, View(), teacher, fake, 0.0, source).mean()
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
    assert float(b.detach()) == pytest.approx(MEAN, rel=0.01)
    assert abs(float(a.detach())) == pytest.approx(STD, rel=0.01)


@pytest.mark.parametrize(("alpha", "spread", "grows"), [(1.2, 2.2, False), (1.2, 3.0, True), (1.0, 3.0, False)])
def test_alpha_above_one_has_a_basin(alpha, spread, grows):
    """At one level with exact scores the gradient in the variance v is proportional to (p − q) ((1 − α) p + α q), with
    p = 1/(s² + σ²) and q = 1/(v + σ²): for α > 1 it turns against the teacher where v + σ² > α/(α − 1) (s² + σ²),
    that is six times the teacher's for α = 1.2, where a student that starts from its teacher does not get.
    """
    sigma = 0.1
    place = karras_fraction(sigma)
    a = torch.tensor(spread * STD, requires_grad=True)
    observed = MEAN + a * torch.randn(2000, 1, 8, 8, generator=generator(2))
    fake = GaussianDenoiser(MEAN, float(a.detach()))
    limit = alpha / (alpha - 1) * (STD**2 + sigma**2) if alpha > 1 else float("inf")
    assert ((spread * STD) ** 2 + sigma**2 > limit) == grows
    loss = gaussian(observed, alpha, fake=fake, t_min=place, t_max=place + 1e-6).mean()
    (gradient,) = torch.autograd.grad(loss, a)
    assert (gradient < 0) == grows
