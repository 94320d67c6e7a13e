"""A resumed optimiser goes on as one that was never stopped, whatever the layout of its state in memory."""

import copy

import torch
from torch import nn

from rsd_med.training.adam import AdamSettings

SETTINGS = AdamSettings(learning_rate=1e-2, betas=(0.9, 0.99), epsilon=1e-8)


def test_a_state_from_another_layout_in_memory_is_laid_out_as_the_weights_are():
    """The kernel goes through weights and moments side by side: a run may go on with its channels innermost."""
    plain, inner = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    inner.load_state_dict(plain.state_dict())
    optimisers = [SETTINGS.build(module) for module in (plain, inner)]
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    plain(x).square().sum().backward()
    optimisers[0].step()
    inner.load_state_dict(plain.state_dict())
    optimisers[1].load_state_dict(copy.deepcopy(optimisers[0].state_dict()))
    for module, optimiser in zip((plain, inner), optimisers, strict=True):
        module.zero_grad()
        module(x).square().sum().backward()
        optimiser.step()
        optimiser.step()
    assert inner.weight.stride() != plain.weight.stride()
    torch.testing.assert_close(inner.weight, plain.weight, rtol=1e-5, atol=1e-6)
