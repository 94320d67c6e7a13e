"""A network as a program: `torch.export`, TorchScript and ONNX. Each is asked once more before it counts as written."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from rsd_med.base.errors import ProtocolError, RsdMedError
from rsd_med.base.randomness import generator_for
from rsd_med.sharing.graphs import Conditions, Port, SharedGraph

AGREEMENT = 1e-4
"""Largest difference between a program and the network it was made of, as a part of the largest value."""

ITEMS = 2
OTHER_ITEMS = 3
_FREE_AXES = ("batch", "coil")
_LARGE = 2**30
"""Bytes above which the weights of an ONNX model lie in a file beside it: its format ends at 2 GiB."""


@dataclass(frozen=True)
class Model:
    """A network to be written.

    Attributes
    ----------
    graph
        On the CPU, in float32.
    conditions
        What it is shown images through.
    any_size
        Whether programs shall take images of other sizes, too.
    images
        Images that it was trained on.
    """

    graph: SharedGraph
    conditions: Conditions
    any_size: bool = False
    images: int = 0

    @property
    def inputs(self) -> tuple[Port, ...]:
        """What it takes."""
        return self.graph.inputs(self.conditions)

    @property
    def multiple(self) -> int:
        """Sides of images of another size must be multiples of this."""
        return int(getattr(self.graph.denoiser.network, "multiple", 1))

    def example(self, items: int) -> tuple[Tensor, ...]:
        """Return inputs such as it knows, always the same."""
        return self.graph.example(self.conditions, generator_for(0, "example", items), items)

    @cached_property
    def program(self) -> ExportedProgram:
        """The network as `torch.export` traces it, for any batch; RsdMedError where it does not answer alike."""
        return export_program(self)

    def free_axes(self) -> tuple[str, ...]:
        """Return the axes whose length a program leaves open."""
        return (*_FREE_AXES, "y", "x") if self.any_size else _FREE_AXES


def export_program(model: Model) -> ExportedProgram:
    """Trace a network for any batch.

    Raises
    ------
    RsdMedError
        If the program does not answer as the network does.
    """
    free = model.free_axes()
    shapes = tuple({axis: Dim.DYNAMIC for axis, name in enumerate(port.axes) if name in free} for port in model.inputs)
    with _quietly():
        program = torch.export.export(model.graph, model.example(ITEMS), dynamic_shapes=shapes, strict=False)
    _require_agreement(model, "torch.export", program.module())
    return program


def write_torchscript(model: Model, path: Path) -> str | None:
    """Write a network as TorchScript; return why not, where it cannot be held in it."""
    with _quietly():
        try:
            traced = torch.jit.trace(model.graph, model.example(ITEMS), check_trace=False)
            _require_agreement(model, "TorchScript", traced)
        except (RuntimeError, RsdMedError) as error:
            return f"no TorchScript of the {model.graph.name} ({str(error).strip().splitlines()[-1]})"
        torch.jit.save(traced, path)
    return None


def require_onnx() -> None:
    """Refuse to write ONNX without the packages that do.

    Raises
    ------
    ProtocolError
        Naming what to install.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ProtocolError(f"ONNX needs {', '.join(missing)}: pip install 'rsd_med[export]', or choose other --form.")


def write_onnx(model: Model, path: Path, description: str) -> None:
    """Write a network as ONNX, with a description of what it takes and gives inside.

    Raises
    ------
    RsdMedError
        If onnxruntime does not answer as the network does.
    """
    import onnxruntime

    names = [port.name for port in model.inputs]
    with _quietly():
        written = torch.onnx.export(
            model.program, dynamo=True, input_names=names, output_names=[model.graph.output().name], verbose=False
        )
    assert written is not None
    written.model.doc_string = description
    weights = sum(tensor.nbytes for tensor in model.graph.state_dict().values())
    written.save(path, external_data=weights > _LARGE)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(*inputs: Tensor) -> Tensor:
        fed = dict(zip(names, (tensor.numpy() for tensor in inputs), strict=True))
        return torch.from_numpy(np.asarray(session.run(None, fed)[0]))

    _require_agreement(model, "ONNX", answer)


def _require_agreement(model: Model, form: str, program: Callable[..., Tensor]) -> None:
    """Ask a program about inputs of another number than it was traced with."""
    for items in (OTHER_ITEMS, 1):
        inputs: Sequence[Tensor] = model.example(items)
        with torch.no_grad():
            expected, answer = model.graph(*inputs), program(*inputs)
        error = float((answer - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        if not error <= AGREEMENT:
            raise RsdMedError(
                f"{form} of the {model.graph.name} differs from the network by {error:.1g} of its largest value; it is "
                "not written. Please report this network."
            )


@contextmanager
def _quietly() -> Iterator[None]:
    """Leave out the warnings of tracing: about what agrees afterwards, or is refused."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
