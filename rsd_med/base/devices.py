"""Which kind of device a wish means on this machine."""

from typing import Literal

import torch

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
