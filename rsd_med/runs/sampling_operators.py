"""The operators that samples are drawn under, kept with the run so that drawing needs no data."""

import json
from pathlib import Path

import torch

from rsd_med.base.errors import DataError
from rsd_med.base.files import written_aside
from rsd_med.corruptions.measurement import Conditions, Measurement
from rsd_med.operators.linear import Identity, LinearOperator
from rsd_med.operators.tensors import rebuilt

OPERATOR = "operator."
"""What the names of the operator's tensors begin with."""

LIMIT_BYTES = 64 * 2**20
"""A run folder stays small: as many coil maps as fit, at least one."""


def save_sampling_operators(path: Path, measurements: Conditions) -> None:
    """Write the operators (coil maps, masks) and the shape of ``measurements``, never their data.

    Corruptions of images draw their operators from the shape alone, so that nothing else of theirs is kept.

    Raises
    ------
    TypeError
        For an operator of k-space without items of its own.
    """
    from safetensors.torch import save_file

    first = measurements[:1]
    data, operator = first.data, first.operator
    tensors = {"shape": torch.tensor(data.shape[1:]), "complex": torch.tensor(data.is_complex())}
    metadata = {}
    if operator.complex_domain:
        if operator.items is None:
            raise TypeError(f"{operator!r} has no items of its own, and so no stored form")
        per_item = sum(tensor.nbytes for tensor in operator.state().values())
        stored = measurements[: max(1, LIMIT_BYTES // per_item)]
        metadata["operator"] = json.dumps(stored.operator.structure())
        # Copies: parts of an operator may share a tensor, and the file's format refuses that.
        state = stored.operator.state()
        tensors |= {OPERATOR + name: tensor.cpu().contiguous().clone() for name, tensor in state.items()}
        if stored.acquired is not None:
            tensors["acquired"] = stored.acquired.cpu().contiguous()
    with written_aside(path) as side:
        save_file(tensors, side, metadata)


def load_sampling_operators(path: Path, device: torch.device) -> Measurement:
    """Read what ``save_sampling_operators`` wrote: measurements with operators and empty data.

    Raises
    ------
    DataError
        When the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it cannot be iterated)
            structure = (file.metadata() or {}).get("operator")
        state = {n.removeprefix(OPERATOR): tensor for n, tensor in tensors.items() if n.startswith(OPERATOR)}
        operator = Identity() if structure is None else rebuilt(json.loads(structure), state, LinearOperator)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path.name} of the run is damaged ({error}); restore it or train again.") from error
    count = operator.items or 1
    dtype = torch.complex64 if bool(tensors["complex"]) else torch.float32
    return Measurement(
        data=torch.zeros(count, *tensors["shape"].tolist(), dtype=dtype),
        operator=operator,
        sigma=torch.zeros(count),
        scale=torch.ones(count),
        ids=("condition",) * count,
        acquired=tensors.get("acquired"),
    ).to(device)
