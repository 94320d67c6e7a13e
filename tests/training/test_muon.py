"""Muon: torch's own as the oracle for matrices, torch's Adam for the others; a stopped run goes on as it was."""

import copy

import pytest
import torch
from torch import nn

from rsd_med.training.muon import MuonSettings, orthogonalised

SETTINGS = MuonSettings(learning_rate=0.02, adam_learning_rate=3e-3, momentum=0.9, betas=(0.8, 0.99))


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(4, 16, 3), nn.Conv2d(16, 64, 1), nn.Flatten(), nn.Linear(64, 20))


def take_steps(module, *optimisers, seeds=range(2)):
    """Steps along random gradients, all of whose directions count: where few do, rounding decides about the others."""
    for seed in seeds:
        source = torch.Generator().manual_seed(seed)
        for parameter in module.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=source)
        for optimiser in optimisers:
            optimiser.step()
    return [parameter.detach().clone() for parameter in module.parameters()]


@pytest.mark.parametrize("shape", [(2, 20, 300), (1, 300, 20), (3, 16, 16)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    answer = orthogonalised(matrices)
    assert answer.shape == matrices.shape
    values = torch.linalg.svdvals(answer)
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.3
    # Tr(Aᵀ UVᵀ) is the sum of A's singular values for the polar factor UVᵀ, and less for any other isometry.
    nearest = (matrices * answer).sum((1, 2)) / torch.linalg.svdvals(matrices).sum(1)
    assert 0.7 < float(nearest.min()) <= float(nearest.max()) < 1.2
    assert not orthogonalised(torch.zeros(shape)).any()


def test_matrices_move_as_by_torchs_muon_and_the_rest_as_by_torchs_adam():
    module, other = network(), network()
    matrices = [parameter for parameter in other.parameters() if parameter.ndim >= 2]
    flat = [nn.Parameter(parameter.detach().flatten(1)) for parameter in matrices]
    rest = [parameter for parameter in other.parameters() if parameter.ndim < 2]
    muon = torch.optim.Muon(flat, lr=0.02, weight_decay=0, momentum=0.9)
    adam = torch.optim.Adam(rest, lr=3e-3, betas=(0.8, 0.99))

    class Both:
        def step(self):
            for parameter, matrix in zip(matrices, flat, strict=True):
                matrix.grad = parameter.grad.flatten(1)
            muon.step()
            adam.step()
            for parameter, matrix in zip(matrices, flat, strict=True):
                parameter.data.copy_(matrix.data.reshape(parameter.shape))

    optimiser = SETTINGS.build(module)
    for group in optimiser.param_groups:
        group["lr"] = SETTINGS.learning_rate * group["rate_share"]
    expected = take_steps(other, Both())
    # torch iterates in bfloat16, whose rounding small singular values enlarge: its steps are compared as a whole.
    begun = network().state_dict().values()
    for start, one, theirs in zip(begun, take_steps(module, optimiser), expected, strict=True):
        difference = (one - theirs).norm() / (theirs - start).norm()
        assert float(difference) < (0.05 if start.ndim >= 2 else 0.01)


def test_layers_of_few_inputs_move_by_adam():
    module = nn.Conv2d(1, 32, 3)
    groups = MuonSettings().build(module).param_groups
    assert [group["matrices"] for group in groups] == [False]


def test_a_resumed_optimiser_goes_on_as_one_that_was_never_stopped():
    module = network()
    whole = take_steps(module, SETTINGS.build(module), seeds=range(4))
    module = network()
    optimiser = SETTINGS.build(module)
    take_steps(module, optimiser, seeds=range(2))
    state = copy.deepcopy(optimiser.state_dict())
    resumed = SETTINGS.build(module)
    resumed.load_state_dict(state)
    parts = take_steps(module, resumed, seeds=range(2, 4))
    assert all(torch.equal(one, other) for one, other in zip(parts, whole, strict=True))
