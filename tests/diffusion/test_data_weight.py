"""The weight of a guess is that of a Gaussian prior about it."""

import math

import torch

from rsd_med.diffusion.data_weight import SPEED, DataWeight


def test_it_is_the_ratio_of_the_variances_of_noise_and_of_prior():
    weight = DataWeight()
    floor, dark, share, sigma = 0.01, 0.05, 0.2, 0.03
    with torch.no_grad():
        for parameter, value in ((weight.floor, floor), (weight.dark, dark), (weight.share, share)):
            parameter.fill_(math.log(value) / SPEED)
    power = torch.zeros(2, 1, 12, 12)
    power[:, :, :, 6:] = 4.0  # bright on one side
    power.requires_grad_(True)
    noise = torch.tensor([sigma, 0.0]).reshape(2, 1, 1, 1)
    answer = weight(power, noise)
    air, bright = answer[0, 0, 5, 0], answer[0, 0, 5, 11]
    torch.testing.assert_close(air.item(), floor + sigma**2 / dark**2, rtol=1e-4, atol=0)
    torch.testing.assert_close(bright.item(), floor + sigma**2 / (dark**2 + share**2 * 4), rtol=1e-4, atol=0)
    assert torch.allclose(answer[1], torch.tensor(floor))  # nothing is known of its noise
    answer.sum().backward()
    assert power.grad is None
    assert weight.share.grad is not None
