"""Which kind of device a wish means on this machine, and how small things get there."""

from typing import Literal

import torch
from torch import Tensor

from rsd_med.base.errors import ProtocolError


def device_kind(wanted: Literal["auto", "cpu", "cuda"], option: str) -> Literal["cpu", "cuda"]:
    """Return the kind of device to compute on.

    Parameters
    ----------
    wanted
        ``auto`` is the GPU where there is one.
    option
        Where the wish was said, for the error: ``engine.device`` or ``--device``.

    Raises
    ------
    ProtocolError
        If a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise ProtocolError(f"{option}: cuda is asked for but this machine has no usable GPU; use auto or cpu.")
    return "cuda" if wanted != "cpu" and there else "cpu"


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor of the CPU on a device. A GPU fetches it from pinned memory, and nobody waits."""
    if torch.device(device).type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
