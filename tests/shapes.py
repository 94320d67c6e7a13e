"""Shapes that annotations state, ``Complex[Tensor, "*b coil y x"]``, are checked at every call while tests run.

A letter is one size wherever it stands in a signature; ``*b`` are any leading sizes. Other annotations are
mypy's to check. `tests/conftest.py` puts this around the functions of some rooms, through jaxtyping's import hook.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, get_args, get_origin

from jaxtyping import AbstractArray

ROOMS = ("operators", "corruptions", "teachers", "students")


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with a check of every argument and result whose annotation states a shape."""
    stated = {name: hint for name, hint in getattr(function, "__annotations__", {}).items() if _states_a_shape(hint)}
    if not stated:
        return function
    result_hint = stated.pop("return", None)
    # Found once for all calls: there are millions. What can be given by name alone has no place.
    parameters = inspect.signature(function).parameters.values()
    by_place = [
        (sys.maxsize if parameter.kind is parameter.KEYWORD_ONLY else place, stated[parameter.name], parameter.name)
        for place, parameter in enumerate(parameters)
        if parameter.name in stated
    ]
    title = function.__qualname__

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for place, hint, name in by_place:
            if place < len(args):
                _require(args[place], hint, title, name)
            elif name in kwargs:
                _require(kwargs[name], hint, title, name)
        result = function(*args, **kwargs)
        if result_hint is not None:
            _require(result, result_hint, title, "the result")
        return result

    return checked


def _states_a_shape(hint: object) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_states_a_shape(part) for part in get_args(hint))


@functools.cache
def _parts(hint: Any) -> tuple[Any, ...] | None:
    """Return what a tuple consists of, or None for what is no tuple."""
    return get_args(hint) if get_origin(hint) is tuple else None


@functools.cache
def _choices(hint: Any) -> tuple[type, ...]:
    """Return the types of which a value must have one."""
    return tuple(part for part in get_args(hint) if isinstance(part, type)) or (hint,)


def _require(value: object, hint: Any, title: str, what: str) -> None:
    parts = _parts(hint)
    if parts is not None:
        for number, (part, stated) in enumerate(zip(value, parts, strict=True)):  # type: ignore[call-overload]
            _require(part, stated, title, f"{what}, {number}")
        return
    if not isinstance(value, _choices(hint)):
        kind = f"{value.dtype} of shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
        raise TypeError(f"{title}: {what} is {kind}, and {hint} is stated.")
