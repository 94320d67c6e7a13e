"""Shapes that annotations state, ``Complex[Tensor, "*b coil y x"]``, are checked at every call while tests run.

A letter is one size wherever it stands in a signature; ``*b`` are any leading sizes. Other annotations are
mypy's to check. `tests/conftest.py` puts this around the functions of some rooms, through jaxtyping's import hook.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

from jaxtyping import AbstractArray

ROOMS = ("operators", "corruptions", "teachers", "students")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a check of every argument and result whose annotation states a shape."""
    stated = {name: hint for name, hint in getattr(function, "__annotations__", {}).items() if _states_a_shape(hint)}
    if not stated:
        return function
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for name, hint in stated.items():
            if name in given:
                _require(given[name], hint, f"{function.__qualname__}: {name}")
        result = function(*args, **kwargs)
        if "return" in stated:
            _require(result, stated["return"], f"{function.__qualname__}: the result")
        return result

    return checked


def _states_a_shape(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_states_a_shape(part) for part in get_args(hint))


def _require(value: object, hint: Any, what: str) -> None:
    if get_origin(hint) is tuple:
        for number, (part, stated) in enumerate(zip(value, get_args(hint), strict=True)):  # type: ignore[call-overload]
            _require(part, stated, f"{what}, {number}")
        return
    choices = [part for part in get_args(hint) if isinstance(part, type)] or [hint]
    if not any(isinstance(value, choice) for choice in choices if isinstance(choice, type)):
        kind = f"{value.dtype} of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise TypeError(f"{what} is {kind}, and {hint} is stated.")
