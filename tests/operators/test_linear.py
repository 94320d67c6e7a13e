import pickle

import pytest
import torch

from rsd_med.corruptions import Measurement
from rsd_med.diffusion.view import View
from rsd_med.operators import CentredFourier, CoilMaps, Identity, LinearOperator, MultiCoilFourier, SamplingMask
from rsd_med.operators.blur import Blur
from rsd_med.operators.linear import Scaled
from rsd_med.operators.super_resolution import Downsampling
from rsd_med.operators.tomography import ParallelBeam
from tests.operators.contracts import check_operator, random_maps, random_tensor, relative_error

X = torch.complex128


def parts(y=6, x=5, coils=3):
    mask = random_tensor((2, 1, 1, x), torch.float32, 8) > 0
    return SamplingMask(mask), CentredFourier(), CoilMaps(random_maps((2, coils, y, x), X))


def test_composition_owes_what_an_operator_owes():
    sampling, fourier, coils = parts()
    check_operator(sampling @ fourier @ coils, (2, 1, 6, 5), (2, 3, 6, 5), X)
    check_operator(sampling @ (fourier @ coils), (2, 1, 6, 5), (2, 3, 6, 5), X)


def test_adjoint_of_a_composition_is_the_reversed_composition_of_adjoints():
    sampling, fourier, coils = parts()
    y = random_tensor((2, 3, 6, 5), X, 2)
    assert (fourier @ coils).H(y).equal((coils.H @ fourier.H)(y))
    assert (sampling @ fourier @ coils).H(y).equal((coils.H @ fourier.H @ sampling.H)(y))


def test_sums_and_multiples_owe_what_an_operator_owes():
    sampling, fourier, coils = parts()
    check_operator(sampling @ fourier @ coils + fourier @ coils, (2, 1, 6, 5), (2, 3, 6, 5), X)
    check_operator(-1.5 * (sampling @ fourier @ coils), (2, 1, 6, 5), (2, 3, 6, 5), X)
    check_operator(Scaled(coils, torch.tensor([0.5, 2.0])), (2, 1, 6, 5), (2, 3, 6, 5), X)


def test_sums_and_multiples_are_what_they_say():
    sampling, fourier, coils = parts()
    x = random_tensor((2, 1, 6, 5), X, 1)
    assert (fourier @ coils + sampling @ fourier @ coils)(x).equal(fourier(coils(x)) + sampling(fourier(coils(x))))
    assert (2 * coils)(x).equal(2 * coils(x))
    assert relative_error((coils * 2).approximate_image(2 * coils(x)), x) < 1e-12
    with pytest.raises(TypeError):
        coils * 1j
    with pytest.raises(ValueError, match=r"codomain \(3, 6, 5\) and \(1, 6, 5\) cannot be added"):
        coils + CoilMaps(coils.maps[:, :1])


def test_the_batch_passes_through_a_multiple():
    kernel = random_tensor((3, 1, 3, 3), torch.float32, 1)
    x = random_tensor((3, 1, 8, 6), torch.float32, 2)
    assert relative_error((2 * Blur(kernel))[1:](x[1:]), 2 * Blur(kernel)(x)[1:]) < 1e-6


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (Downsampling(2, (8, 8)), Downsampling(4, (8, 8)), "factor 2 and 4"),
        (ParallelBeam(8, 4), ParallelBeam(8, 9), "views 4 and 9"),
        (2.0 * Blur(torch.ones(1, 1, 3, 3)), 3.0 * Blur(torch.ones(1, 1, 3, 3)), "factor"),
    ],
)
def test_operators_that_differ_in_more_than_their_items_do_not_stack(first, second, name):
    with pytest.raises(ValueError, match=name):
        LinearOperator.cat([first, second])
    assert type(LinearOperator.cat([first, first])) is type(first)


def test_an_operator_prints_its_shapes_and_a_measurement_its_own():
    sampling, fourier, coils = parts()
    scan = MultiCoilFourier(sampling.mask, coils.maps)
    assert repr(scan) == "<[2, 3, 6, 5] x [2, 1, 6, 5]> MultiCoilFourier"
    assert repr(scan.H) == "<[2, 1, 6, 5] x [2, 3, 6, 5]> Adjoint"
    assert repr(sampling @ fourier @ coils) == "<[2, ...] x [2, 1, 6, 5]> SamplingMask @ CentredFourier @ CoilMaps"
    assert repr(0.5 * scan) == "<[2, 3, 6, 5] x [2, 1, 6, 5]> 0.5 * MultiCoilFourier"
    assert repr(Identity()) == "<[...] x [...]> Identity"
    measurement = Measurement(scan(random_tensor((2, 1, 6, 5), X, 1)), scan, torch.zeros(2), torch.ones(2), ("a", "b"))
    assert repr(measurement) == f"<2 of [3, 6, 5] complex128 on cpu> by {scan!r}"
    assert repr(View(scan.gram, torch.zeros(2, 1, 6, 5))) == f"View({scan.gram!r}, context [2, 1, 6, 5])"


def test_composition_is_application_in_turn():
    _, fourier, coils = parts()
    x = random_tensor((2, 1, 6, 5), X, 1)
    assert (fourier @ coils)(x).equal(fourier(coils(x)))


def test_identity_disappears():
    _, fourier, _ = parts()
    identity = Identity()
    assert identity @ fourier is fourier
    assert fourier @ identity is fourier
    assert identity @ identity is identity
    assert identity.H is identity
    assert identity.gram is identity


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_identity_returns_what_it_gets(dtype):
    x = random_tensor((3, 1, 4, 5), dtype, 1)
    assert Identity()(x) is x
    assert Identity().H(x) is x
    assert Identity().normal(x) is x
    assert Identity()[1:](x) is x
    assert LinearOperator.cat([Identity(), Identity()])(x) is x
    assert Identity().to("cpu")(x) is x


def test_gradients_agree_with_finite_differences():
    _, fourier, coils = parts(y=3, x=4, coils=2)
    operator = MultiCoilFourier(random_tensor((2, 1, 1, 4), torch.float32, 8) > 0, coils.maps)
    x = random_tensor((2, 1, 3, 4), X, 1).requires_grad_()
    y = random_tensor((2, 2, 3, 4), X, 2).requires_grad_()
    for apply, point in ((operator, x), (operator.H, y), (operator.normal, x), (fourier @ coils, x)):
        assert torch.autograd.gradcheck(apply, (point,), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(operator, (x,), fast_mode=True)


def test_operators_work_under_vmap():
    _, fourier, _ = parts()
    x = random_tensor((4, 2, 1, 6, 5), X, 1)
    assert relative_error(torch.func.vmap(fourier)(x), fourier(x)) < 1e-14


def test_no_gradient_flows_to_the_parameters():
    maps = random_maps((2, 3, 4, 4), X).requires_grad_()
    x = random_tensor((2, 1, 4, 4), X, 1).requires_grad_()
    CoilMaps(maps)(x).abs().sum().backward()
    assert maps.grad is None
    assert x.grad is not None


def test_operators_can_be_pickled():
    sampling, fourier, coils = parts()
    operator = sampling @ fourier @ coils
    x = random_tensor((2, 1, 6, 5), X, 1)
    assert pickle.loads(pickle.dumps(operator))(x).equal(operator(x))


def test_stacking_refuses_what_does_not_fit():
    sampling, fourier, coils = parts()
    with pytest.raises(ValueError, match="no operator"):
        LinearOperator.cat([])
    with pytest.raises(ValueError, match="different types"):
        LinearOperator.cat([sampling, fourier])
    with pytest.raises(ValueError, match="differ in the batch alone"):
        LinearOperator.cat([coils, CoilMaps(random_maps((2, 4, 6, 5), X))])
    with pytest.raises(ValueError, match="differ in the batch alone"):
        LinearOperator.cat([SamplingMask(sampling.mask[0]), SamplingMask(~sampling.mask[0])])
    with pytest.raises(ValueError, match="cannot be stacked as CoilMaps"):
        CoilMaps.cat([sampling])


@pytest.mark.parametrize("index", [0, (0,), torch.tensor(0)])
def test_selection_keeps_the_batch_dimension(index):
    sampling, _, _ = parts()
    with pytest.raises(TypeError, match="slice"):
        sampling[index]


def test_only_operators_compose():
    with pytest.raises(TypeError):
        CentredFourier() @ 3
