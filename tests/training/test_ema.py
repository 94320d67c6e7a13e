"""The average of weights: half-lives in images, whatever the batch size."""

import pytest
import torch
from torch import nn

from rsd_med.training.ema import EMA
from rsd_med.training.settings import EMASettings
from tests.training.toys import TinyNetwork

NO_RAMP = 1e9


def constant(value):
    network = TinyNetwork(1)
    for tensor in [*network.parameters(), *network.buffers()]:
        tensor.data.fill_(value)
    return network


def weights(average):
    return torch.cat([tensor.flatten() for tensor in [*average.module.parameters(), *average.module.buffers()]])


@pytest.mark.parametrize("batch_size", [1, 10, 50])
def test_after_a_half_life_half_the_distance_is_left(batch_size):
    average = EMA(constant(1.0), EMASettings(half_life=500, ramp_up=NO_RAMP))
    target = constant(3.0)
    for images in range(batch_size, 501, batch_size):
        average.update(target, images, batch_size)
    assert weights(average) == pytest.approx(2.0, rel=1e-4)
    for images in range(500 + batch_size, 1001, batch_size):
        average.update(target, images, batch_size)
    assert weights(average) == pytest.approx(2.5, rel=1e-4)


def test_early_on_the_half_life_is_a_share_of_the_images_seen():
    """Written out: β = 0.5^(batch / min(half-life, 0.05 images))."""
    settings = EMASettings(half_life=100, ramp_up=0.05)
    average, target, expected = EMA(constant(1.0), settings), constant(0.0), 1.0
    for images in range(16, 16 * 200, 16):
        average.update(target, images, 16)
        expected *= 0.5 ** (16 / min(100, 0.05 * images))
        assert float(weights(average)[0]) == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_the_first_updates_forget_the_random_start():
    average = EMA(constant(1.0), EMASettings())
    average.update(constant(5.0), 32, 32)
    assert weights(average) == pytest.approx(5.0, abs=1e-4)


def test_the_average_begins_as_a_copy_and_is_apart():
    network = TinyNetwork(1)
    average = EMA(network, EMASettings())
    assert torch.equal(average.module.kernel, network.kernel)
    network.kernel.data += 1
    assert not torch.equal(average.module.kernel, network.kernel)
    assert not any(parameter.requires_grad for parameter in average.module.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_average_of_one_network_is_loaded_by_another():
    average = EMA(nn.Linear(2, 2), EMASettings())
    nn.Linear(2, 2).load_state_dict(average.module.state_dict())
