"""What every linear operator owes, as reusable checks: call `check_operator` with a factory's result."""

import importlib
import json
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rsd_med.operators import LinearOperator
from rsd_med.operators.linear import Scaled
from rsd_med.operators.tensors import rebuilt

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


def dense(operator: LinearOperator, domain: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The operator's matrix, item by item: (b, data, pixels)."""
    pixels = torch.eye(math.prod(domain[1:]), dtype=dtype).unflatten(1, domain[1:])
    return torch.stack([operator(pixel.expand(domain)).flatten(1) for pixel in pixels], dim=-1)


def knows(operator: LinearOperator, fact: str) -> bool:
    """Whether an operator, or the one it multiplies, has a closed form of its own."""
    inner = operator.parts[0] if isinstance(operator, Scaled) else operator
    return getattr(type(inner), fact) is not getattr(LinearOperator, fact)


def assert_facts(operator: LinearOperator, domain: tuple[int, ...], target: tuple[int, ...], dtype: torch.dtype):
    """What an operator says of itself is true of its matrix; exact but for the largest eigenvalue, which is a bound."""
    matrix = dense(operator, domain, dtype)
    x, y = random_tensor(domain, dtype, 1), random_tensor(target, dtype, 2)
    measured = operator.entries(y).expand_as(y)
    assert not operator(x)[~measured].any()
    assert operator.entry_counts(y).tolist() == measured.flatten(1).sum(1).tolist()
    unseen = ~operator.support().expand(domain).flatten(1)
    assert not matrix.abs().sum(1)[unseen].any()
    power = matrix.abs().square().sum(1)
    diagonal = operator.normal_diagonal(x)
    assert not diagonal.is_complex()
    diagonal = diagonal.expand(domain).flatten(1)
    estimated = not knows(operator, "normal_diagonal")
    # An estimate from random signs is far better of the trace than of one pixel.
    assert relative_error(diagonal.sum(1), power.sum(1)) < (0.15 if estimated else TOLERANCE[dtype] * 10)
    assert relative_error(diagonal, power) < (2 if estimated else TOLERANCE[dtype] * 10)
    largest = torch.linalg.matrix_norm(matrix, ord=2).square()
    bound = operator.largest_eigenvalue(x)
    assert bound.shape == (domain[0],)
    assert bool((bound >= largest * (1 - TOLERANCE[dtype] * 10)).all())
    if not knows(operator, "largest_eigenvalue"):
        assert bool((bound <= largest * 1.05).all())
    assert operator.domain in (None, tuple(domain[1:]))
    assert operator.codomain in (None, tuple(target[1:]))
    assert operator.items in (None, domain[0])
    structure = json.loads(json.dumps(operator.structure()))
    assert relative_error(rebuilt(structure, operator.state(), LinearOperator)(x), operator(x)) < TOLERANCE[dtype]


def check_operator(operator: LinearOperator, domain: tuple[int, ...], target: tuple[int, ...], dtype: torch.dtype):
    """Check everything an operator owes, for an operator whose tensors all have a batch of at least two."""
    assert_adjoint(operator, domain, target, dtype)
    assert_linear(operator, domain, dtype)
    assert_normal(operator, domain, dtype)
    assert_derivatives(operator, domain, target, dtype)
    assert_transparent(operator, domain, dtype)
    assert_facts(operator, domain, target, dtype)
    if operator.complex_domain:
        with pytest.raises(ValueError, match="to_complex"):
            operator(random_tensor(domain, torch.float32, 1))


def _vjp(apply: Callable[[Tensor], Tensor], inside: Tensor, outside: Tensor) -> Tensor:
    leaf = inside.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(apply(leaf), leaf, outside)
    return gradient
