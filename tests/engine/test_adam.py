"""The engine's Adam takes the very steps of torch's, and its state goes from one to the other."""

import copy

import pytest
import torch
from torch import nn

from rsd_med.engine.adam import Adam

SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))


def pair() -> list[tuple[nn.Module, torch.optim.Adam]]:
    ours, theirs = network(), network()
    return [
        (ours, Adam(ours.parameters(), **SETTINGS)),
        (theirs, torch.optim.Adam(theirs.parameters(), fused=True, **SETTINGS)),
    ]


def take(module: nn.Module, optimiser: torch.optim.Adam, number: int, without: int | None = None) -> None:
    generator = torch.Generator().manual_seed(number)
    for index, parameter in enumerate(module.parameters()):
        gradient = torch.randn(parameter.shape, generator=generator)
        parameter.grad = None if index == without else gradient
    optimiser.param_groups[0]["lr"] = 1e-2 / (1 + number)
    optimiser.step()


def same(sides: list[tuple[nn.Module, torch.optim.Adam]]) -> bool:
    (ours, our_optimiser), (theirs, their_optimiser) = sides
    weights = all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    a, b = our_optimiser.state_dict(), their_optimiser.state_dict()
    assert a["param_groups"] == b["param_groups"]
    assert a["state"].keys() == b["state"].keys()
    return weights and all(torch.equal(a["state"][i][k], b["state"][i][k]) for i in b["state"] for k in b["state"][i])


@pytest.mark.parametrize("without", [None, 0, 4], ids=["always", "first", "later"])
def test_steps_are_torchs_also_where_a_gradient_is_missing_once(without):
    sides = pair()
    for number in range(7):
        for module, optimiser in sides:
            take(module, optimiser, number, without=1 if number == without else None)
    assert same(sides)


def test_a_loaded_state_is_the_one_that_counts():
    sides = pair()
    for number in range(3):
        for side in sides:
            take(*side, number)
    kept = copy.deepcopy(sides[1][1].state_dict())
    for number in range(3, 6):
        for side in sides:
            take(*side, number)
    for _, optimiser in sides:
        optimiser.load_state_dict(copy.deepcopy(kept))
    for number in range(6, 9):
        for side in sides:
            take(*side, number)
    assert same(sides)


def test_a_state_from_another_layout_in_memory_is_laid_out_as_the_weights_are():
    """The kernel goes through weights and moments side by side: a run may go on with its channels innermost."""
    plain, inner = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    inner.load_state_dict(plain.state_dict())
    optimisers = [Adam(module.parameters(), **SETTINGS) for module in (plain, inner)]
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
