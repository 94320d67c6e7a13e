"""The data step against dense linear algebra, and its gradients against finite differences."""

import pytest
import torch
from torch import Tensor

from rsd_med.operators.data_step import data_step
from rsd_med.operators.mri import MultiCoilFourier

SIZE = (2, 1, 3, 4)


def scene(weighting: str) -> tuple[MultiCoilFourier, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 3, 4, dtype=torch.complex128, generator=generator)
    mask = torch.tensor([[True, False, True, False], [False, True, True, True]]).reshape(2, 1, 1, 4)
    image = torch.randn(SIZE, dtype=torch.complex128, generator=generator)
    weight = torch.tensor([0.3, 1.2], dtype=torch.float64).reshape(-1, 1, 1, 1)
    if weighting == "pixels":  # from almost nothing to more than the data's own
        weight = 0.01 + 3 * torch.rand(SIZE, dtype=torch.float64, generator=generator)
    return MultiCoilFourier(mask, maps), image, weight


@pytest.mark.parametrize("weighting", ["items", "pixels"])
def test_it_solves_the_normal_equations(weighting):
    operator, guess, weight = scene(weighting)
    truth = guess.flip(-1)
    result = data_step(guess, weight, operator, operator.normal(truth), iterations=30)
    for item in range(2):
        one = operator[item : item + 1]
        basis = torch.eye(12, dtype=torch.complex128).reshape(12, 1, 1, 3, 4)
        matrix = torch.stack([one.normal(column).flatten() for column in basis], 1)
        diagonal = weight.expand(SIZE)[item].flatten()
        right = matrix @ truth[item].flatten() + diagonal * guess[item].flatten()
        dense = torch.linalg.solve(matrix + torch.diag(diagonal), right)
        torch.testing.assert_close(result[item].flatten(), dense, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("weighting", ["items", "pixels"])
def test_gradients_reach_guess_and_weight(weighting):
    operator, guess, weight = scene(weighting)
    adjoint = operator.normal(guess.flip(-1))
    guess.requires_grad_(True)
    weight.requires_grad_(True)

    def step(guess: Tensor, weight: Tensor) -> Tensor:
        return data_step(guess, weight, operator, adjoint, 30, 30)

    # Along random directions: each of the many entries by itself would take a minute.
    assert torch.autograd.gradcheck(step, (guess, weight), atol=1e-6, fast_mode=True)
