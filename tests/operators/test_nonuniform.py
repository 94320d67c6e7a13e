import math

import pytest
import torch

from rsd_med.operators import MultiCoilFourier
from rsd_med.operators.nonuniform import (
    MultiCoilNonUniformFourier,
    density_compensation,
    to_samples,
)
from rsd_med.operators.trajectories import radial_trajectory, spiral_trajectory
from tests.operators.contracts import check_operator, random_maps, random_tensor, relative_error

pytest.importorskip("finufft", reason="finufft is an extra: pip install 'rsd_med[noncartesian]'")
X = torch.complex128


def positions(samples, size, batch=(), seed=7):
    uniform = torch.rand(*batch, samples, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return (uniform - 0.5) * torch.tensor(size)


def direct(images, trajectory):
    """The defining sum, written out."""
    phases = []
    for axis, n in enumerate(images.shape[-2:]):
        grid = torch.arange(n, dtype=torch.float64) - n // 2
        phases.append(torch.exp(-2j * math.pi * trajectory[:, axis, None] * grid / n))
    result = torch.einsum("sy,sx,...yx->...s", *phases, images.to(X))
    return result / math.prod(images.shape[-2:]) ** 0.5


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (12, 5)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.complex64, 1e-5), (X, 1e-11)])
def test_is_the_defining_sum(size, dtype, tolerance):
    trajectory, images = positions(40, size), random_tensor((2, 3, *size), dtype, 1)
    assert relative_error(to_samples(images, trajectory), direct(images, trajectory).to(dtype)) < tolerance


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("shared", [True, False])
def test_owes_what_an_operator_owes(size, coils, shared):
    trajectory = positions(30, size, () if shared else (2,))
    scan = MultiCoilNonUniformFourier(trajectory, random_maps((2, coils, *size), X))
    domain, target = (2, 1, *size), (2, coils, 1, 30)
    check_operator(scan, domain, target, X)


@pytest.mark.parametrize("size", [(8, 6), (7, 9)])
def test_on_the_grid_it_is_the_cartesian_scan(size):
    maps, x = random_maps((2, 3, *size), X), random_tensor((2, 1, *size), X, 1)
    grids = [torch.arange(n, dtype=torch.float64) - n // 2 for n in size]
    trajectory = torch.stack(torch.meshgrid(*grids, indexing="ij"), dim=-1).reshape(-1, 2)
    cartesian = MultiCoilFourier(torch.ones(2, 1, 1, size[1], dtype=torch.bool), maps)
    found = MultiCoilNonUniformFourier(trajectory, maps)
    assert relative_error(found(x).unflatten(-1, size)[:, :, 0], cartesian(x)) < 1e-11
    assert relative_error(density_compensation(trajectory, size), torch.ones(math.prod(size), dtype=X).real) < 1e-6


def test_weights_of_spokes_grow_with_the_radius_and_give_the_image_back():
    n = 32
    trajectory = radial_trajectory(64, 2 * n, n)
    weights = density_compensation(trajectory, (n, n))
    radius = trajectory.norm(dim=-1)
    inner = (radius > 3) & (radius < n / 2 - 3)
    ratio = weights[inner] / radius[inner]
    assert ratio.std() / ratio.mean() < 0.15
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    image = torch.exp(-((axis[:, None] - 2) ** 2 + (axis + 3) ** 2) / 18)[None, None].to(X)
    scan = MultiCoilNonUniformFourier(trajectory, torch.ones(1, n, n, dtype=X))
    assert relative_error(scan.H(weights * scan(image)), image) < 0.1
    assert relative_error(scan.H(scan(image)), image) > 0.5  # without weights it is far off


def test_single_precision_is_the_defining_sum_and_its_adjoint_to_a_ten_thousandth():
    size, trajectory = (40, 40), spiral_trajectory(8, 400, 40, 2.5)
    maps = random_maps((1, 3, *size), torch.complex64)
    scan, x = MultiCoilNonUniformFourier(trajectory, maps), random_tensor((1, 1, *size), torch.complex64, 1)
    y = random_tensor((1, 3, 1, len(trajectory)), torch.complex64, 2)
    forward, adjoint = scan(x), scan.H(y)
    assert relative_error(forward[:, :, 0].to(X), direct(maps * x, trajectory)) < 1e-4
    phases = [
        torch.exp(2j * math.pi * trajectory[:, axis, None] * (torch.arange(n, dtype=torch.float64) - n // 2) / n)
        for axis, n in enumerate(size)
    ]
    images = torch.einsum("sy,sx,bcs->bcyx", *phases, y[:, :, 0].to(X)) / math.prod(size) ** 0.5
    assert relative_error(adjoint.to(X), (maps.to(X).conj() * images).sum(1, keepdim=True)) < 1e-4
    left, right = torch.vdot(y.flatten(), forward.flatten()), torch.vdot(adjoint.flatten(), x.flatten())
    assert abs(left - right) < 1e-4 * forward.norm() * y.norm()


def test_weights_give_an_image_in_its_own_units():
    n = 32
    axis = torch.arange(n, dtype=torch.float64) - n // 2
    image = torch.exp(-((axis[:, None] - 2) ** 2 + (axis + 3) ** 2) / 18)[None, None].to(X)
    for trajectory in (radial_trajectory(64, 2 * n, n), spiral_trajectory(16, 400, n, 2)):
        scan = 0.1 * MultiCoilNonUniformFourier(trajectory, torch.ones(1, 1, n, n, dtype=X))
        assert relative_error(scan.approximate_image(scan(image)), image) < 0.1


def test_refuses_what_does_not_fit():
    maps = random_maps((2, 3, 8, 6), X)
    with pytest.raises(ValueError, match="within half"):
        MultiCoilNonUniformFourier(torch.tensor([[0.0, 4.0]]), maps)
    with pytest.raises(ValueError, match="within half"):
        MultiCoilNonUniformFourier(torch.tensor([[0.0, math.nan]]), maps)
    with pytest.raises(ValueError, match="differ in their batch"):
        MultiCoilNonUniformFourier(positions(5, (8, 6), (3,)), maps)
    with pytest.raises(ValueError, match="trajectory"):
        MultiCoilNonUniformFourier(torch.zeros(5, 3), maps)
    with pytest.raises(ValueError, match="needs data"):
        MultiCoilNonUniformFourier(positions(5, (8, 6)), maps).H(torch.zeros(2, 3, 1, 6, dtype=X))
