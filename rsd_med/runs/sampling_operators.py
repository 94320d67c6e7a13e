"""The operators that samples are drawn under, kept with the run so that drawing needs no data."""

from pathlib import Path

import torch

from rsd_med.base.errors import DataError
from rsd_med.base.files import written_aside
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import Identity, LinearOperator
from rsd_med.operators.mri import MultiCoilFourier

LIMIT_BYTES = 64 * 2**20
"""A run folder stays small: as many coil maps as fit, at least one."""


def save_sampling_operators(path: Path, measurements: Measurement) -> None:
    """Write the operators (coil maps, masks) and the shape of ``measurements``, never their data.

    Corruptions of images draw their operators from the shape alone, so that nothing else of theirs is kept.

    Raises
    ------
    TypeError
        For an operator of k-space that has no stored form.
    """
    from safetensors.torch import save_file

    data, operator = measurements.data, measurements.operator
    tensors = {"shape": torch.tensor(data.shape[1:]), "complex": torch.tensor(data.is_complex())}
    if isinstance(operator, MultiCoilFourier):
        per_item = operator.maps[0].numel() * operator.maps.element_size()
        kept = operator[: max(1, LIMIT_BYTES // per_item)]
        # safetensors has no complex type.
        tensors["maps"] = torch.view_as_real(kept.maps.cpu()).contiguous()
        tensors["mask"] = kept.mask.cpu().contiguous()
        if measurements.acquired is not None:
            tensors["acquired"] = measurements.acquired[: len(kept.maps)].cpu().contiguous()
    elif operator.complex_domain:
        raise TypeError(f"conditions of {type(operator).__name__} cannot be stored")
    with written_aside(path) as side:
        save_file(tensors, side)


def load_sampling_operators(path: Path, device: torch.device) -> Measurement:
    """Read what ``save_sampling_operators`` wrote: measurements with operators and empty data.

    Raises
    ------
    DataError
        When the file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path.name} of the run is damaged ({error}); restore it or train again.") from error
    operator: LinearOperator = Identity()
    count = 1
    if "maps" in tensors:
        operator = MultiCoilFourier(tensors["mask"], torch.view_as_complex(tensors["maps"]))
        count = len(tensors["maps"])
    dtype = torch.complex64 if bool(tensors["complex"]) else torch.float32
    return Measurement(
        data=torch.zeros(count, *tensors["shape"].tolist(), dtype=dtype),
        operator=operator,
        sigma=torch.zeros(count),
        scale=torch.ones(count),
        ids=("condition",) * count,
        acquired=tensors.get("acquired"),
    ).to(device)
