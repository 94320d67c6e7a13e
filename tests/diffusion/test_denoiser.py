"""Preconditioning: EDM's table 1, its limits, and what runs in which precision."""

import copy
import math

import pytest
import torch
from torch import nn

from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.backbones import MonaiUNetSettings, count_parameters
from rsd_med.diffusion.compute import ComputeOptions
from rsd_med.diffusion.denoiser import Denoiser, DiffusionSettings, build_denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.view import View

from .gaussian import generator

SMALL = MonaiUNetSettings(channels=(8, 16), attention=(False, True), head_channels=8)


class Recorder(nn.Module):
    """A network that notes what it is given and answers with a function of it."""

    def __init__(self, answer=torch.ones_like):
        super().__init__()
        self.answer = answer

    def forward(self, x, noise_label):
        self.seen, self.label = x, noise_label
        self.autocast = torch.is_autocast_enabled(x.device.type)
        return self.answer(x)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def test_the_coefficients_are_the_papers():
    """Written out once more, in float64: c_skip, c_out, c_in and c_noise of table 1."""
    network = Recorder(torch.tanh)
    x, sigma, spread = normal(5, 3, 4, 6), torch.tensor([0.002, 0.1, 0.5, 3.0, 80.0]), 0.7
    found = Denoiser(network, sigma_data=spread)(x, sigma)
    s = sigma.double().reshape(-1, 1, 1, 1)
    inside = x.double() / (s**2 + spread**2).sqrt()
    expected = (
        spread**2 / (s**2 + spread**2) * x.double()
        + s * spread / (s**2 + spread**2).sqrt() * torch.tanh(inside)
    )  # fmt: skip
    assert torch.allclose(network.label.double(), sigma.double().log() / 4, atol=1e-6)
    assert torch.allclose(found.double(), expected, atol=1e-6)
    assert found.dtype == torch.float32


def test_without_noise_the_image_is_returned():
    x = normal(2, 1, 8, 8)
    found = Denoiser(Recorder())(x, torch.full((2,), 1e-6))
    assert torch.allclose(found, x, atol=2e-6)


def test_in_pure_noise_only_the_network_speaks():
    noise = normal(2, 1, 8, 8)
    found = Denoiser(Recorder(lambda x: 3 * torch.ones_like(x)), sigma_data=0.5)(1e5 * noise, torch.full((2,), 1e5))
    assert torch.allclose(found, torch.full_like(found, 1.5), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.002, 0.1, 0.5, 2.0, 80.0])
def test_the_network_sees_unit_variance_and_is_asked_for_unit_variance(sigma):
    spread = 0.4
    clean = spread * normal(64, 1, 32, 32)
    noisy = clean + sigma * normal(64, 1, 32, 32, seed=1)
    network = Recorder()
    level = torch.full((64,), sigma)
    denoiser = Denoiser(network, spread)
    found = denoiser(noisy, level)
    assert float(network.seen.var()) == pytest.approx(1, rel=0.02)
    # With an answer of 1, D = c_skip x + c_out; the ideal answer is (x_0 - c_skip x) / c_out.
    c_out = sigma * spread / math.hypot(sigma, spread)
    ideal = (clean - (found - c_out)) / c_out
    assert float(ideal.var()) == pytest.approx(1, rel=0.02)
    assert float(denoiser.weight(level)[0]) == pytest.approx(1 / c_out**2, rel=1e-5)


def test_every_item_has_its_own_level():
    denoiser, x, sigma = Denoiser(Recorder(torch.sin)), normal(3, 2, 4, 4), torch.tensor([0.1, 1.0, 10.0])
    together = denoiser(x, sigma)
    alone = [denoiser(x[i : i + 1], sigma[i : i + 1])[0] for i in range(3)]
    assert torch.equal(together, torch.stack(alone))


def test_context_reaches_the_network_unscaled():
    network = Recorder(lambda x: x[:, :2])
    context = normal(2, 1, 4, 4, seed=5)
    x = normal(2, 2, 4, 4)
    found = Denoiser(network)(x, torch.full((2,), 2.0), context)
    assert network.seen.shape == (2, 3, 4, 4)
    assert torch.equal(network.seen[:, 2:], context)
    assert found.shape == x.shape


def test_low_precision_stays_inside_the_network():
    network = Recorder(lambda x: x.to(torch.bfloat16))
    x, sigma = normal(2, 1, 4, 4), torch.full((2,), 1e-6)
    found = Denoiser(network, compute_options=ComputeOptions(precision="bfloat16"))(x, sigma)
    assert network.autocast
    assert network.seen.dtype == network.label.dtype == found.dtype == torch.float32
    assert torch.allclose(found, x, atol=1e-5)  # the skip path has not been rounded to eight bits
    Denoiser(network)(x, sigma)
    assert not network.autocast


def test_the_memory_format_changes_no_number_but_by_rounding():
    """Weights and inputs lie otherwise; copies keep it, and what is saved is the same."""
    plain = build_denoiser(SMALL, DiffusionSettings(), 2, 1, generator_for(0, "weights"))
    inner = build_denoiser(
        SMALL,
        DiffusionSettings(),
        2,
        1,
        generator_for(0, "weights"),
        compute_options=ComputeOptions(memory_format="channels_last"),
    )
    x, sigma, context = normal(2, 2, 8, 8), torch.tensor([0.1, 3.0]), normal(2, 1, 8, 8, seed=1)
    copied = copy.deepcopy(inner)
    for denoiser in (plain, inner, copied):
        denoiser(x, sigma, context).square().sum().backward()
    weights = [dict(denoiser.named_parameters()) for denoiser in (plain, inner, copied)]
    changed = 0
    for name, weight in weights[0].items():
        changed += weights[1][name].stride() != weight.stride()
        assert weights[2][name].stride() == weights[1][name].stride() == weights[1][name].grad.stride()
        assert torch.equal(weights[1][name], weight)
        torch.testing.assert_close(weights[1][name].grad, weight.grad, rtol=1e-3, atol=1e-3)
    assert changed
    plain.compute(ComputeOptions(memory_format="channels_last"))
    inner.compute(ComputeOptions())
    assert all(weight.is_contiguous() for weight in inner.parameters())
    assert plain.network.net.conv_in.conv.weight.stride() == weights[2]["network.net.conv_in.conv.weight"].stride()


def test_copies_are_compiled_as_well(monkeypatch):
    """Copying a module leaves its compiled form behind, and a student's networks are copies of the teacher."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call, **_: compiled.append(call) or call)
    denoiser = Denoiser(Recorder(), compute_options=ComputeOptions(compile=True))
    x, sigma = normal(2, 1, 4, 4), torch.ones(2)
    for each in (denoiser, copy.deepcopy(denoiser)):
        each(x, sigma)
        each(x, sigma)
    assert len(compiled) == 2
    denoiser.compute(ComputeOptions())
    denoiser(x, sigma)
    assert len(compiled) == 2


def test_weights_come_from_the_generator_alone():
    def build(item):
        return build_denoiser(SMALL, DiffusionSettings(), 2, 1, generator_for(0, "weights", item))

    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = build(0)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(8)
    again, other = build(0), build(1)
    states = [network.state_dict() for network in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert first.sigma_data == 0.5


def test_accelerators_are_not_reseeded(monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the GPU's generator was reseeded"))
    build_denoiser(SMALL, DiffusionSettings(), 2, 0, generator_for(0, "weights"))


def test_parameters_are_counted():
    assert count_parameters(nn.Linear(3, 4)) == 16


def test_hidden_lines_keep_target_and_weight_of_order_one_without_noise():
    """A view that hides part of the image errs by h at any σ: what is asked of the network must not grow like h/σ."""
    spread, hidden, sigma = 0.4, 0.1, 0.002
    clean = spread * normal(64, 1, 32, 32)
    # What the network sees differs from the image by h, and only a little of that is noise.
    seen = clean + hidden * normal(64, 1, 32, 32, seed=1)
    network, level = Recorder(), torch.full((64,), sigma)
    denoiser = Denoiser(network, spread, hidden_std=hidden)
    found = denoiser(seen, level)
    c_out = hidden * spread / math.hypot(hidden, spread)
    ideal = (clean - (found - c_out)) / c_out
    assert float(ideal.var()) == pytest.approx(1, rel=0.03)
    assert float(denoiser.weight(level)[0]) == pytest.approx(1 / c_out**2, rel=1e-3)
    assert network.label[0] == pytest.approx(math.log(sigma) / 4)


def test_a_generator_without_the_skip_adds_what_the_network_says_alone():
    denoiser, z = Denoiser(Recorder(), sigma_data=0.5, hidden_std=0.3), normal(2, 1, 4, 4)
    c_out = (0.3**2 + 2.5**2) ** 0.5 * 0.5 / (0.3**2 + 2.5**2 + 0.5**2) ** 0.5
    torch.testing.assert_close(FewSteps(2.5, skip=False)(denoiser, View(), z), torch.full_like(z, c_out))
    with_skip = FewSteps(2.5)(denoiser, View(), z) - c_out
    torch.testing.assert_close(with_skip, 0.25 / (0.25 + 0.09 + 6.25) * 2.5 * z)
