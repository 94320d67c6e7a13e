"""Tensors out of pickles that nobody vouches for: what a file asks to be called is never called.

A pickle is a program. Those of EDM and its relatives also carry the source code of their networks and run it when they
are opened. Here every name in a file stands for one of four things: a tensor being put together, an ordered dict, the
state of an object, or nothing. Torch's own reader of tensors alone (``weights_only``) reads the numbers.
"""

import io
import math
import pickle
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from rsd_med.base.errors import DataError


class Bystander(dict):
    """Stands for an object of a class that is not loaded: it holds what the file says of it, and does nothing.

    Attributes
    ----------
    class_name
        The class, where the file names it beside the state.
    state
        The object's attributes.
    """

    class_name = ""
    state: Any = None

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Make one from whatever the file would have handed to the class."""
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        """Take an item of a list that is not loaded, and forget it."""

    def extend(self, items: Any) -> None:
        """Take items of a list that is not loaded, and forget them."""


class _Maker(ABC):
    """What a file may call. It has no attributes that a file could set."""

    __slots__ = ()

    @abstractmethod
    def __call__(self, *arguments: Any) -> Any:
        """Return what stands for the object of the file."""


class _Storage(_Maker):
    """``torch.storage._load_from_bytes``: numbers, in torch's own format."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Any:
        (content,) = arguments
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


class _Tensor(_Maker):
    """``torch._utils._rebuild_tensor_v2``: a view of numbers."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Tensor:
        storage, offset, size, stride, *_ = arguments
        if not isinstance(storage, torch.storage.TypedStorage):
            raise pickle.UnpicklingError("a tensor without numbers")
        numbers = torch.empty(0, dtype=storage.dtype).set_(storage)
        if math.prod(size) > len(numbers):
            raise pickle.UnpicklingError("a tensor of more numbers than there are")
        return numbers.as_strided(size, stride, offset)  # which refuses to leave them


class _Parameter(_Maker):
    """``torch._utils._rebuild_parameter``: a tensor, and whether it learns."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Tensor:
        if not isinstance(arguments[0], Tensor):
            raise pickle.UnpicklingError("a parameter that is no tensor")
        return arguments[0]


class _Persistent(_Maker):
    """EDM's ``_reconstruct_persistent_obj``: source code, which is left alone, and the state of an object."""

    __slots__ = ()

    def __call__(self, *arguments: Any) -> Bystander:
        (meta,) = arguments
        made = Bystander()
        made.class_name, made.state = str(meta.get("class_name", "")), meta.get("state")
        return made


_KNOWN: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.storage", "_load_from_bytes"): _Storage(),
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor(),
    ("torch._utils", "_rebuild_parameter"): _Parameter(),
    ("torch._utils", "_rebuild_parameter_with_state"): _Parameter(),
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Persistent(),
}


class _TensorsAlone(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; nothing is imported."""
        return _KNOWN.get((module, name), Bystander)


def read_tensors(path: Path) -> dict[str, Any]:
    """Read what a file of weights holds, without running anything in it.

    Parameters
    ----------
    path
        A pickle of EDM or of a relative, a state dict of ``torch.save``, or safetensors.

    Returns
    -------
    dict[str, Any]
        What the file holds by name: tensors, mappings of them, and objects as `Bystander`.

    Raises
    ------
    DataError
        If it is none of these, damaged, or holds something else than tensors and plain values.
    """
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
            file.seek(0)
            if path.suffix == ".safetensors":
                from safetensors.torch import load_file

                return dict(load_file(path))
            content = torch.load(file, "cpu", weights_only=True) if zipped else _TensorsAlone(file).load()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; name the file of weights in it.") from error
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever a file contrives to raise
        raise DataError(
            f"{path.name}: the weights cannot be taken out of this file ({_shortly(error)}). Tensors alone are read: a "
            "network-snapshot pickle of EDM or its relatives, a state dict that torch.save wrote, or safetensors."
        ) from error
    if not isinstance(content, Mapping):
        content = {"": content}
    return dict(content)


def _shortly(error: Exception) -> str:
    words = str(error).strip().splitlines()
    return f"{type(error).__name__}: {words[0][:120]}" if words else type(error).__name__


def tensors_of(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Spread the tensors of a module, or of nested mappings, as ``a.b.weight``.

    Parameters
    ----------
    value
        A `Bystander` of a module (with ``_parameters``, ``_buffers`` and ``_modules``), a mapping, or a tensor.
    prefix
        What the names begin with.
    """
    if isinstance(value, Tensor):
        return {prefix: value}
    state = value.state if isinstance(value, Bystander) else value
    if not isinstance(state, Mapping):
        return {}
    groups = [state.get(group) for group in ("_parameters", "_buffers", "_modules")]
    if isinstance(value, Bystander) or any(isinstance(group, Mapping) for group in groups):
        parts = [item for group in groups if isinstance(group, Mapping) for item in group.items()]
    else:
        parts = list(state.items())
    tensors: dict[str, Tensor] = {}
    for name, part in parts:
        tensors |= tensors_of(part, f"{prefix}.{name}" if prefix else str(name))
    return tensors
