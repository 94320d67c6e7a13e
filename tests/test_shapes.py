"""The check of stated shapes notices what it should, and is at work in every room that it is meant for."""

import importlib
import inspect
import pkgutil

import pytest
import torch
from jaxtyping import Complex, Float, TypeCheckError, jaxtyped
from torch import Tensor

from tests.shapes import ROOMS, check


@jaxtyped(typechecker=check)
def zero_filled(kspace: Complex[Tensor, "*b coil y x"], sigma: Float[Tensor, "*b"] | None) -> Float[Tensor, "*b 1 y x"]:
    return kspace.abs()[..., :1, :, :] if sigma is None else kspace.abs()


def test_wrong_shapes_kinds_and_results_are_refused():
    good = torch.zeros(2, 4, 6, 5, dtype=torch.complex64)
    assert zero_filled(good, None).shape == (2, 1, 6, 5)
    for kspace, sigma in ((good.real, None), (good[0, 0], None), (good, torch.zeros(3)), (good, torch.zeros(2))):
        with pytest.raises(TypeCheckError):
            zero_filled(kspace, sigma)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_states_shapes_and_is_checked(room):
    package = importlib.import_module(f"rsd_med.{room}")
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}") for found in pkgutil.iter_modules(package.__path__)
    ]
    sources = "".join(inspect.getsource(module) for module in modules)
    assert sources.count('Tensor, "') >= 3
    assert all(module.__loader__.__class__.__module__.startswith("jaxtyping") for module in modules)
