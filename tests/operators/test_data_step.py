"""The data step against dense linear algebra, and its gradients against finite differences."""

import torch

from rsd_med.operators.data_step import data_step
from rsd_med.operators.mri import MultiCoilFourier


def scene():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(2, 3, 4, 6, dtype=torch.complex128, generator=generator)
    mask = torch.rand(2, 1, 1, 6, generator=generator) < 0.5
    image = torch.randn(2, 1, 4, 6, dtype=torch.complex128, generator=generator)
    weight = torch.tensor([0.3, 1.2], dtype=torch.float64).reshape(-1, 1, 1, 1)
    return MultiCoilFourier(mask, maps), image, weight


def test_it_solves_the_normal_equations():
    operator, guess, weight = scene()
    truth = guess.flip(-1)
    result = data_step(guess, weight, operator, operator.normal(truth), iterations=60)
    for item in range(2):
        one = operator[item : item + 1]
        basis = torch.eye(24, dtype=torch.complex128).reshape(24, 1, 1, 4, 6)
        matrix = torch.stack([one.normal(column).flatten() for column in basis], 1)
        right = matrix @ truth[item].flatten() + weight[item].flatten() * guess[item].flatten()
        dense = torch.linalg.solve(matrix + weight[item].flatten() * torch.eye(24), right)
        torch.testing.assert_close(result[item].flatten(), dense, rtol=1e-8, atol=1e-8)


def test_gradients_reach_guess_and_weight():
    operator, guess, weight = scene()
    adjoint = operator.normal(guess.flip(-1))
    guess.requires_grad_(True)
    weight.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda g, w: data_step(g, w, operator, adjoint, 60), (guess, weight), atol=1e-6)
