"""A GPU that is not there: CPU tensors that say they lie on cuda:0, and refuse what real ones would refuse.

Inside ``with VirtualGPU() as gpu:`` whatever is made on, or moved to, ``cuda`` is marked, by its storage. Its
``device`` is cuda:0. An operation between marked and unmarked tensors raises `DeviceMismatchError`, but for those that
CUDA allows: numbers on the CPU without dimensions, CPU indices, copies. Generators have a device, and must match.
Values are real, so that code that depends on data runs, and so does backward. Counted, under the line of the product
that asked:

- ``gpu.waits``: the host waits for the GPU (``.item()``, ``bool``, ``tolist``, ``nonzero``, boolean indices …);
- ``gpu.to_host`` and ``gpu.to_device``: copies, each of which waits as well;
- ``gpu.unwaited``: copies that do not, from or to pinned memory and asked for as ``non_blocking``.

What is copied to pinned memory is there at once, but an event says so when asked for the second time, so that code
which reads too early is noticed by its ``synchronize``, which waits.

Kernels, NCCL and speed are not covered: a run on a real GPU is still due.
"""

import contextlib
import functools
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from rsd_med.base import draws

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
PRODUCT = ("/rsd_med/", "/apps/")
aten = torch.ops.aten

FACTORIES = {
    "rand", "randn", "randint", "randperm", "zeros", "ones", "empty", "full", "arange", "linspace", "logspace", "eye",
    "tensor", "as_tensor", "asarray", "scalar_tensor", "from_numpy", "frombuffer", "empty_strided", "fft_fftfreq",
    "fft_rfftfreq", "hann_window", "tril_indices", "triu_indices",
}  # fmt: skip
OF_ANOTHER = {
    "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor", "zeros_like", "ones_like", "empty_like",
    "full_like", "rand_like", "randn_like", "randint_like",
}  # fmt: skip
FROM_VALUES = {"tensor", "as_tensor", "asarray", "new_tensor"}
INDEXING = {
    aten.index.Tensor, aten.index_put_.default, aten.index_put.default, aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}  # fmt: skip
WAITING = {
    aten._local_scalar_dense.default, aten.equal.default, aten.nonzero.default, aten.masked_select.default,
    aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default, aten.repeat_interleave.Tensor,
    aten._linalg_eigh.default, aten._linalg_svd.default, aten._linalg_solve_ex.default, aten.linalg_cholesky_ex.default,
    aten._linalg_check_errors.default,
}  # fmt: skip


class DeviceMismatchError(RuntimeError):
    """What would need its tensors on one device has them on two."""


class VirtualGenerator(torch.Generator):
    """A CPU generator that says where it is."""

    def __new__(cls, device: torch.device | str = "cpu") -> Self:
        generator = super().__new__(cls, "cpu")
        generator.place = GPU if torch.device(device).type == "cuda" else CPU
        return generator

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Take what ``__new__`` took."""

    @property
    def device(self) -> torch.device:
        return self.place


class VirtualEvent:
    """An event that has not come when it is asked for the first time."""

    gpu: "VirtualGPU"

    def __init__(self, *_: object, **__: object) -> None:
        self.asked = 0

    def record(self, *_: object) -> None:
        """Nothing is under way."""

    def query(self) -> bool:
        self.asked += 1
        return self.asked > 1

    def synchronize(self) -> None:
        if self.asked <= 1:
            self.gpu.count(self.gpu.waits, "event")


class VirtualDraws(VirtualGenerator, draws.Draws):
    """The product's own generator, likewise."""


class VirtualGPU(contextlib.ExitStack):
    """The machine with one GPU, for as long as the context lasts."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.to_host: Counter[str] = Counter()
        self.to_device: Counter[str] = Counter()
        self.unwaited: Counter[str] = Counter()
        # Of a storage: GPU, or None where autograd made it from nothing and its device shows with its first use.
        self._places: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._pinned: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._made_on: torch.device | None = None
        self._backward = 0

    def __enter__(self) -> Self:
        super().__enter__()
        _empty_caches()  # what they hold was marked for another virtual GPU
        for owner, name, value in (
            (torch, "Generator", VirtualGenerator),
            (draws, "Draws", VirtualDraws),
            (torch.cuda, "get_rng_state", lambda *_: torch.random.get_rng_state()),
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "is_bf16_supported", lambda including_emulation=True: True),
            (torch.cuda, "synchronize", lambda *_: self.count(self.waits, "synchronize")),
            (torch.cuda, "Event", type("Event", (VirtualEvent,), {"gpu": self})),
            (torch.cuda, "device_count", lambda: 1),
            (torch.cuda, "get_device_name", lambda *_: "virtual"),
            (torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=80 * 2**30)),
            (torch.cuda, "max_memory_allocated", lambda *_: 0),
            (torch, "autocast", _autocast(torch.autocast)),
            (torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda _: None),
            (torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(self._grouped)),
            (torch.autograd, "backward", self._in_backward(torch.autograd.backward)),
            (torch.autograd, "grad", self._in_backward(torch.autograd.grad)),
        ):
            self.replace(owner, name, value)
        functions = self.enter_context(_Functions(self))
        self.enter_context(_Kernels(self))
        self.callback(_empty_caches)
        # torch leaves function modes out of backward passes: the Python in them gets ours back.
        for cls in torch.autograd.Function.__subclasses__():
            if cls.__module__.startswith(("rsd_med", "apps")):
                self.replace(cls, "backward", staticmethod(_within(functions, cls.backward)))
        return self

    def replace(self, owner: Any, name: str, value: object) -> None:
        """Set an attribute until the context ends."""
        self.callback(setattr, owner, name, vars(owner).get(name, getattr(owner, name)))
        setattr(owner, name, value)

    def count(self, counter: "Counter[str]", what: str) -> None:
        counter[f"{_line()} {what}"] += 1

    def holds(self, tensor: Tensor) -> bool:
        return self.place(tensor) is GPU

    def place(self, tensor: Tensor) -> torch.device | None:
        """Return where a tensor lies; None where that is still open."""
        try:
            return self._places.get(tensor.untyped_storage(), CPU)
        except (RuntimeError, NotImplementedError):  # no storage
            return CPU

    def pin(self, tensor: Tensor) -> Tensor:
        """Mark memory as pinned."""
        self._pinned[tensor.untyped_storage()] = True
        return tensor

    def count_copy(self, source: Tensor, into: Tensor | None, what: str, non_blocking: bool) -> None:
        """Count a copy; ``into`` is None where new memory is taken for it."""
        to_device = not self.holds(source)
        host = source if to_device else into
        if non_blocking and host is not None and host.untyped_storage() in self._pinned:
            self.count(self.unwaited, what)
        else:
            self.count(self.to_device if to_device else self.to_host, what)

    def put(self, tensors: Iterable[Tensor], place: torch.device | None) -> None:
        for tensor in tensors:
            if place is CPU:
                self._places.pop(tensor.untyped_storage(), None)
            else:
                self._places[tensor.untyped_storage()] = place

    @contextlib.contextmanager
    def making(self, place: torch.device) -> Iterator[None]:
        """Let what is made from nothing lie somewhere."""
        before, self._made_on = self._made_on, place
        try:
            yield
        finally:
            self._made_on = before

    def place_of_new(self) -> torch.device | None:
        if self._made_on is not None:
            return self._made_on
        return None if self._backward else CPU

    def _grouped(self, lists: list[list[Tensor]], with_indices: bool = False) -> Any:
        """Group the tensors of an optimiser, as torch does in C++, where it sees that they lie on a CPU."""
        groups = _group_tensors_by_device_and_dtype(lists, with_indices)
        return {(GPU if self.holds(lists[0][0]) else device, dtype): group for (device, dtype), group in groups.items()}

    def _in_backward(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._backward += 1
            try:
                return real(*args, **kwargs)
            finally:
                self._backward -= 1

        return call


class _Kernels(TorchDispatchMode):
    """Sees every operation: refuses two devices in one, counts what waits, marks what comes out."""

    def __init__(self, gpu: VirtualGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            given = _tensors((args, kwargs))
            place = self._checked(func, args, given) if given else self.gpu.place_of_new()
            outcome = func(*args, **(kwargs or {}))
        made = _tensors(outcome)
        if place is GPU:
            self.gpu.put([*made, *(tensor for tensor in given if self.gpu.place(tensor) is None)], GPU)
        elif place is None:
            self.gpu.put([tensor for tensor in made if self.gpu.place(tensor) is CPU], None)
        return outcome

    def _checked(self, func: Any, args: Any, given: list[Tensor]) -> torch.device | None:
        """Return where the outcome lies."""
        gpu = self.gpu
        places = [gpu.place(tensor) for tensor in given]
        if GPU not in places:
            return None if None in places else CPU
        if func is aten.copy_.default:
            into, source = places[:2]
            if None not in (into, source) and into is not source:
                gpu.count_copy(given[1], given[0], "copy", len(args) > 2 and bool(args[2]))
            return into
        if func in INDEXING:
            return self._indexed(func, args)
        if any(place is CPU and t.dim() > 0 and t.numel() > 0 for t, place in zip(given, places, strict=True)):
            found = ", ".join(f"{tuple(t.shape)} on {place}" for t, place in zip(given, places, strict=True))
            raise DeviceMismatchError(f"{_line()}: {func} of tensors on two devices: {found}")
        if func in WAITING:
            gpu.count(gpu.waits, func._schema.name.removeprefix("aten::"))
        return GPU

    def _indexed(self, func: Any, args: Any) -> torch.device | None:
        gpu, data = self.gpu, args[0]
        for index in (index for index in args[1] if index is not None):
            if gpu.holds(data) and gpu.place(index) is CPU:
                gpu.count(gpu.to_device, "index")
            elif gpu.place(data) is CPU and gpu.holds(index):
                raise DeviceMismatchError(f"{_line()}: {func}: an index on cuda:0 into data on the CPU")
            one_value = len(args) > 2 and args[2].numel() == 1
            if index.dtype == torch.bool and gpu.holds(data) and not one_value:
                gpu.count(gpu.waits, "boolean index")
        if len(args) > 2 and gpu.holds(data) and args[2].dim() > 0 and gpu.place(args[2]) is CPU:
            raise DeviceMismatchError(f"{_line()}: {func}: values on the CPU into data on cuda:0")
        return gpu.place(data)


class _Functions(TorchFunctionMode):
    """Sees what is asked in Python: devices, moves, what is made where, generators."""

    def __init__(self, gpu: VirtualGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        gpu, kwargs, name = self.gpu, dict(kwargs or {}), getattr(func, "__name__", "")
        # The getters of properties are made anew each time they are asked for: equal, not identical.
        if func == Tensor.device.__get__:
            return GPU if gpu.holds(args[0]) else func(*args)
        if func == Tensor.is_cuda.__get__:
            return gpu.holds(args[0])
        if func == Tensor.is_cpu.__get__:
            return not gpu.holds(args[0])
        if func in (Tensor.numpy, Tensor.__array__) and gpu.holds(args[0]):
            if not kwargs.get("force"):
                raise TypeError(f"{_line()}: can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
            gpu.count(gpu.to_host, "numpy")
        elif func is Tensor.tolist and gpu.holds(args[0]):
            gpu.count(gpu.waits, "tolist")
        elif func in (Tensor.to, Tensor.cpu, Tensor.cuda):
            return self._move(func, args, kwargs)
        elif func is Tensor.pin_memory:
            return gpu.pin(args[0].clone())
        elif func is Tensor.__deepcopy__ and type(args[0]) is Tensor:
            copy = func(*args, **kwargs)
            gpu.put([copy], gpu.place(args[0]))
            return copy
        wanted = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        if wanted is not None and wanted.type == "cuda":
            kwargs["device"] = CPU
        if name in FACTORIES or (name in OF_ANOTHER and wanted is not None):
            return self._make(func, name, args, kwargs, wanted)
        if _tensors(args):
            self._check_generator(name, kwargs, gpu.place(_tensors(args)[0]))
        return func(*args, **kwargs)

    def _make(self, func: Any, name: str, args: Any, kwargs: Any, wanted: torch.device | None) -> Any:
        gpu = self.gpu
        place = GPU if wanted is not None and wanted.type == "cuda" else CPU
        pinned = kwargs.pop("pin_memory", False)
        values = args[0] if name in FROM_VALUES and args and isinstance(args[0], Tensor) else None
        if values is not None and wanted is None:
            place = gpu.place(values) or CPU
        self._check_generator(name, kwargs, place)
        if name in FROM_VALUES and place is GPU and (values is None or not gpu.holds(values)):
            gpu.count(gpu.to_device, name)
        with gpu.making(place):
            made = func(*args, **kwargs)
        if values is not None and made.untyped_storage() is values.untyped_storage() and place is not gpu.place(values):
            made = made.clone()
        gpu.put(_tensors(made), place)
        return gpu.pin(made) if pinned else made

    def _move(self, func: Any, args: Any, kwargs: Any) -> Any:
        gpu, tensor, options = self.gpu, args[0], list(args[1:])
        source = place = gpu.place(tensor)
        if func is not Tensor.to:
            place, func, options, kwargs = (CPU if func is Tensor.cpu else GPU), Tensor.to, [CPU], {}
        for number, option in enumerate(options):
            if isinstance(option, torch.device | str):
                place, options[number] = torch.device(option), CPU
            elif isinstance(option, Tensor):
                place = gpu.place(option)
        if kwargs.get("device") is not None:
            place, kwargs["device"] = torch.device(kwargs["device"]), CPU
        place = GPU if place is not None and place.type == "cuda" else CPU if place is not None else None
        moved = func(tensor, *options, **kwargs)
        if place is source:
            return moved
        gpu.count_copy(tensor, None, "move", bool(kwargs.get("non_blocking")))
        if moved.untyped_storage() is tensor.untyped_storage():
            moved = moved.clone(memory_format=torch.preserve_format)
        gpu.put([moved], place)
        return moved

    def _check_generator(self, name: str, kwargs: Any, place: torch.device | None) -> None:
        generator = kwargs.get("generator")
        if isinstance(generator, VirtualGenerator) and place is not None and generator.device is not place:
            raise DeviceMismatchError(
                f"{_line()}: {name}: the generator is on {generator.device} and the tensor on {place}"
            )


def _autocast(real: Callable[..., Any]) -> Callable[..., Any]:
    """Let what is asked of the GPU hold of the processor that stands for it."""
    return lambda device, *args, **kwargs: real("cpu" if device == "cuda" else device, *args, **kwargs)


def _within(mode: _Functions, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        with mode:
            return real(*args)

    return call


def _tensors(tree: Any) -> list[Tensor]:
    """Return the tensors of arguments: those of torch's own functions are lists of tensors at most."""
    if isinstance(tree, Tensor):
        return [tree]
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for branch in branches for tensor in _tensors(branch)]


def _line() -> str:
    """Return the innermost line of the product that is being carried out: file:number."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        root = next((root for root in PRODUCT if root in name), None)
        if root is not None and "site-packages" not in name and "/tests/" not in name:
            return f"{name[name.rindex(root) + 1 :]}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def _empty_caches() -> None:
    """Empty what the product remembers of tensors in ``lru_cache``."""
    for name, module in list(sys.modules.items()):
        if name.startswith(("rsd_med", "apps")):
            for value in list(vars(module).values()):
                if isinstance(value, functools._lru_cache_wrapper):
                    value.cache_clear()
