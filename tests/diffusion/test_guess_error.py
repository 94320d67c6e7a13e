"""The expected error of a guess gives its weight and the spread of draws."""

import math

import torch
from torch import Tensor

from rsd_med.diffusion.guess_error import COARSE, LATENTS, REACH, SPEED, GuessError, Spread


def _scene(requires_grad: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    guess = torch.zeros(2, 2, 12, 12)
    guess[:, 0, :, 6:] = 2.0  # bright on one side
    return guess.requires_grad_(requires_grad), torch.zeros(2, 2, 12, 12), torch.ones(2, 1, 12, 12)


def test_the_weight_is_the_ratio_of_the_variances_of_noise_and_of_prior():
    own = GuessError()
    floor, dark, share, sigma = 0.01, 0.05, 0.2, 0.03
    with torch.no_grad():
        for parameter, value in ((own.floor, floor), (own.dark, dark), (own.share, share)):
            parameter.fill_(math.log(value) / SPEED)
    guess, zero_filled, mask = _scene(requires_grad=True)
    noise = torch.tensor([sigma, 0.0]).reshape(2, 1, 1, 1)
    error = own(guess, zero_filled, mask, noise)
    answer = own.weight(error, noise)
    air, bright = (0, 0, 5, 0), (0, 0, 5, 11)
    both = 1 + COARSE**2  # fine and coarse errors together
    torch.testing.assert_close(error.variance()[air].item(), both * dark**2, rtol=1e-4, atol=0)
    at_bright = dark**2 + share**2 * 4
    torch.testing.assert_close(error.variance()[bright].item(), both * at_bright, rtol=1e-4, atol=0)
    torch.testing.assert_close(answer[air].item(), floor + sigma**2 / (both * dark**2), rtol=1e-4, atol=0)
    torch.testing.assert_close(answer[bright].item(), floor + sigma**2 / (both * at_bright), rtol=1e-4, atol=0)
    assert torch.allclose(answer[1], torch.tensor(floor))  # nothing is known of its noise
    answer.sum().backward()
    assert guess.grad is None
    assert own.share.grad is not None


def test_the_small_network_learns_where_errors_are_and_stays_in_bounds():
    torch.manual_seed(0)
    own = GuessError()
    guess, zero_filled, mask = _scene()
    sigma = torch.zeros(2, 1, 1, 1)
    truth = own(guess, zero_filled, mask, sigma).fine.detach().clone()
    truth[..., 5:7] *= 3  # at the edge, which brightness alone does not show
    optimiser = torch.optim.Adam(own.parameters(), lr=1e-2)
    for _ in range(150):
        optimiser.zero_grad()
        error = own(guess, zero_filled, mask, sigma).fine
        (error.log() - truth.log()).square().mean().backward()
        optimiser.step()
    assert (error / truth).log().abs().max() < 0.3
    with torch.no_grad():
        own.last.weight.zero_()
        bounds = []
        for bias in (-1e3, 0.0, 1e3):
            own.last.bias.fill_(bias)
            bounds.append(own(guess, zero_filled, mask, sigma).coarse)
    for bound, power in ((bounds[0], -REACH), (bounds[2], REACH)):
        torch.testing.assert_close(bound / bounds[1], torch.full_like(bound, math.exp(power)), rtol=1e-3, atol=0)


def test_drawn_errors_have_the_variance_that_they_claim_and_coarse_ones_reach_to_neighbours():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 400, LATENTS, 16, 16, generator=generator)
    fine = torch.full((2, 1, 16, 16), 0.1)
    fine[..., 8:] = 0.3
    for coarse, shared in ((0.0, 0.0), (0.4, 0.8)):
        spread = Spread(fine, torch.full_like(fine, coarse))
        drawn = spread.drawn(noise).unflatten(0, (2, 400))
        claimed = spread.variance()[:, 0, 8, 3:13]
        torch.testing.assert_close(drawn.var((1, 2))[:, 8, 3:13], claimed, rtol=0.25, atol=0)
        one, other = drawn[..., 8, 4], drawn[..., 9, 4]
        correlation = float((one * other).mean() / one.square().mean())
        expected = shared * coarse**2 / (coarse**2 + 0.1**2)  # four of five rows are common to the two squares
        assert abs(correlation - expected) < 0.06
