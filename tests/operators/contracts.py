"""What every linear operator owes, as reusable checks: call `check_operator` with a factory's result."""

import importlib
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rsd_med.operators import LinearOperator

# The first forward-mode derivative imports this module of torch, which warns about torch itself.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    importlib.import_module("torch._decomp.decompositions_for_jvp")

TOLERANCE = {torch.complex64: 1e-6, torch.complex128: 1e-12, torch.float32: 1e-6, torch.float64: 1e-12}


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def random_maps(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 5) -> Tensor:
    """Coil maps with sum |S|^2 = 1."""
    maps = random_tensor(shape, dtype, seed)
    return maps / maps.abs().square().sum(dim=-3, keepdim=True).sqrt()


def relative_error(found: Tensor, expected: Tensor) -> float:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def assert_adjoint(operator: LinearOperator, domain: tuple[int, ...], target: tuple[int, ...], dtype: torch.dtype):
    """<A x, y> = <x, A^H y>, relative to |A x| |y|; shapes first, because flattening would hide a wrong one."""
    x, y = random_tensor(domain, dtype, 1), random_tensor(target, dtype, 2)
    forward, adjoint = operator(x), operator.H(y)
    assert forward.shape == y.shape
    assert adjoint.shape == x.shape
    assert forward.dtype == adjoint.dtype == dtype
    left, right = torch.vdot(y.flatten(), forward.flatten()), torch.vdot(adjoint.flatten(), x.flatten())
    assert abs(left - right) <= TOLERANCE[dtype] * forward.norm() * y.norm()


def assert_linear(operator: LinearOperator, domain: tuple[int, ...], dtype: torch.dtype):
    x, z = random_tensor(domain, dtype, 1), random_tensor(domain, dtype, 3)
    factor = 0.3 - 0.7j if dtype.is_complex else -1.7
    assert relative_error(operator(factor * x + z), factor * operator(x) + operator(z)) < TOLERANCE[dtype]


def assert_normal(operator: LinearOperator, domain: tuple[int, ...], dtype: torch.dtype):
    x = random_tensor(domain, dtype, 1)
    assert relative_error(operator.normal(x), operator.H(operator(x))) < TOLERANCE[dtype]
    gram = operator.gram
    assert gram.H is gram
    assert_adjoint(gram, domain, domain, dtype)


def assert_derivatives(operator: LinearOperator, domain: tuple[int, ...], target: tuple[int, ...], dtype: torch.dtype):
    """The vjp of A is A^H and that of A^H is A; the jvp is the operator; backward can be differentiated again."""
    x, y = random_tensor(domain, dtype, 1), random_tensor(target, dtype, 2)
    for apply, back, inside, outside in (
        (operator, operator.H, x, y),
        (operator.H, operator, y, x),
        (operator.normal, operator.normal, x, random_tensor(domain, dtype, 4)),
    ):
        assert _vjp(apply, inside, outside).equal(back(outside))
        value, tangent = torch.func.jvp(apply, (inside,), (2 * inside,))
        assert value.equal(apply(inside))
        assert relative_error(tangent, 2 * value) < TOLERANCE[dtype]
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(operator(leaf).abs().square().sum() / 2, leaf, create_graph=True)
    assert relative_error(gradient.detach(), operator.normal(x)) < TOLERANCE[dtype]
    (second,) = torch.autograd.grad(gradient.abs().square().sum() / 2, leaf)
    assert relative_error(second, operator.normal(operator.normal(x))) < TOLERANCE[dtype]


def assert_transparent(operator: LinearOperator, domain: tuple[int, ...], dtype: torch.dtype):
    """Double adjoint, device move, selecting and stacking change nothing."""
    x = random_tensor(domain, dtype, 1)
    expected = operator(x)
    assert operator.H.H is operator
    assert operator.to("cpu")(x).equal(expected)
    assert operator.H.to("cpu").H(x).equal(expected)
    items = len(x)
    halves = [operator[: items // 2], operator[torch.arange(items // 2, items)]]
    chosen = torch.arange(items) % 2 == 0
    # Not bit for bit: vector instructions round as the batch's length lets them.
    assert relative_error(halves[0](x[: items // 2]), expected[: items // 2]) < TOLERANCE[dtype]
    assert relative_error(LinearOperator.cat(halves)(x), expected) < TOLERANCE[dtype]
    assert relative_error(operator[chosen](x[chosen]), expected[chosen]) < TOLERANCE[dtype]


def check_operator(operator: LinearOperator, domain: tuple[int, ...], target: tuple[int, ...], dtype: torch.dtype):
    """Check everything an operator owes, for an operator whose tensors all have a batch of at least two."""
    assert_adjoint(operator, domain, target, dtype)
    assert_linear(operator, domain, dtype)
    assert_normal(operator, domain, dtype)
    assert_derivatives(operator, domain, target, dtype)
    assert_transparent(operator, domain, dtype)
    if operator.complex_domain:
        with pytest.raises(ValueError, match="to_complex"):
            operator(random_tensor(domain, torch.float32, 1))


def _vjp(apply: Callable[[Tensor], Tensor], inside: Tensor, outside: Tensor) -> Tensor:
    leaf = inside.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(apply(leaf), leaf, outside)
    return gradient
