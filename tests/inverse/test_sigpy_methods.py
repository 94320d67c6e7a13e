"""Our operators as sigpy's and back, and sigpy's apps on our measurements; the oracle is sigpy's own SENSE operator."""

import numpy as np
import pytest
import sigpy.mri
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.inverse.sigpy_linop import FromSigpy, to_sigpy
from tests.inverse.scenes import columns, disc, measure, smooth_maps
from tests.operators.contracts import (
    assert_adjoint,
    assert_derivatives,
    assert_linear,
    assert_normal,
    random_tensor,
    relative_error,
)

MAPS = smooth_maps(4, 32)[..., :24]
MASK = columns(*range(9, 15), 1, 4, 17, 22, size=24)
IMAGE, DATA = (1, 1, 32, 24), (1, 4, 32, 24)


@pytest.fixture
def scan():
    return measure(disc(32)[..., :24], MASK, MAPS, 0.02)


def sense():
    weights = MASK[0].expand(4, 32, 24).numpy().astype(np.float32)
    return sigpy.mri.linop.Sense(MAPS.numpy(), weights=weights)


def linop_of(scan):
    return to_sigpy(scan.operator, scan.image(), scan.data)


def numbers(shape, seed):
    return random_tensor(shape, torch.complex64, seed).numpy()


def test_a_linop_is_what_sigpy_makes_of_the_same_maps(scan):
    ours, theirs = linop_of(scan), sense()
    image, data = numbers(IMAGE[2:], 1), numbers(DATA[1:], 2)
    assert (ours.ishape, ours.oshape) == (theirs.ishape, theirs.oshape)
    assert repr(ours) == "<[4, 32, 24]x[32, 24]> MultiCoilFourier Linop>"
    for one, other, into in ((ours, theirs, image), (ours.H, theirs.H, data), (ours.N, theirs.N, image)):
        result = one(into)
        assert result.dtype == np.complex64
        np.testing.assert_allclose(result, other(into), atol=1e-5)
    assert np.vdot(data, ours(image)) == pytest.approx(np.vdot(ours.H(data), image), rel=1e-4)
    np.testing.assert_allclose((ours.H * ours)(image), ours.N(image), atol=1e-5)
    np.testing.assert_array_equal(ours(image[::-1]), ours(image[::-1].copy()))  # negative strides


def test_there_and_back_is_where_it_began(scan):
    back = FromSigpy(linop_of(scan))
    x, y = random_tensor(IMAGE, torch.complex64, 1), random_tensor(DATA, torch.complex64, 2)
    assert torch.equal(back(x), scan.operator(x))
    assert torch.equal(back.H(y), scan.operator.H(y))
    again = to_sigpy(FromSigpy(sense()), x, y)
    np.testing.assert_array_equal(again(x[0, 0].numpy()), sense()(x[0, 0].numpy()))
    np.testing.assert_array_equal(again.H(y[0].numpy()), sense().H(y[0].numpy()))


def test_a_linop_keeps_the_contract_of_an_operator(scan):
    operator = FromSigpy(sense())
    images, data = (2, *IMAGE[1:]), (2, *DATA[1:])
    assert_adjoint(operator, images, data, torch.complex64)
    assert_linear(operator, images, torch.complex64)
    assert_normal(operator, images, torch.complex64)
    assert_derivatives(operator, images, data, torch.complex64)
    assert repr(operator) == "<[4, 32, 24] x [1, 32, 24]> FromSigpy"
    solver = CGSenseSettings().build()
    ours, theirs = (
        solver.solve(one, generator_for(0, "solve"), lambda done: None)
        for one in (scan, scan.__class__(scan.data, operator, scan.sigma, scan.scale, scan.ids))
    )
    assert relative_error(theirs, ours) < 1e-4


@pytest.mark.parametrize("shapes", [((2, 1, 32, 24), (2, 4, 32, 24)), ((1, 2, 32, 24), DATA)])
def test_more_than_one_image_is_refused(scan, shapes):
    with pytest.raises(ValueError, match="one image of one channel"):
        to_sigpy(scan.operator, *(torch.zeros(shape, dtype=torch.complex64) for shape in shapes))
    with pytest.raises(ValueError, match="takes images"):
        FromSigpy(sense().H)


@pytest.mark.parametrize("name", ["sigpy_tv", "sigpy_l1"])
def test_a_method_is_sigpys_app_on_its_own_operator(scan, name):
    """The same steps from zero: what differs is the rounding of two Fourier transforms."""
    weight, iterations = 0.01, 60
    largest = float(scan.operator.largest_eigenvalue(scan.image()))
    apps = {
        "sigpy_tv": (sigpy.mri.app.TotalVariationRecon, {"tau": 1 / (0.1 * (largest + 8)), "sigma": 0.1}),
        "sigpy_l1": (sigpy.mri.app.L1WaveletRecon, {"alpha": 1 / largest}),
    }
    app, steps = apps[name]
    expected = app(scan.data[0].numpy(), MAPS.numpy(), weight, max_iter=iterations, show_pbar=False, **steps).run()
    solver = SOLVERS[name](regularisation=weight, iterations=iterations).build()
    result = solver(scan, generator_for(0, "solve")).mean[0]
    assert relative_error(result, torch.from_numpy(expected)) < 1e-4
    assert relative_error(result, scan.image()[0, 0]) > 0.05  # and not its start


def test_total_variation_ends_close_to_its_minimum(scan):
    """With sigpy's own step lengths it is 11 % away."""
    settings = SOLVERS["sigpy_tv"]
    short, long = (settings(iterations=steps).build() for steps in (settings().iterations, 1000))
    results = [solver(scan, generator_for(0, "solve")).mean[0] for solver in (short, long)]
    assert relative_error(*results) < 0.01
