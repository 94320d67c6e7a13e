"""Products of the physics keep all digits of float32, whatever the networks may do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def all_digits(like: Tensor) -> Iterator[None]:
    """Multiply float32 numbers as such on a GPU, also where networks may multiply in TF32.

    Parameters
    ----------
    like
        What is multiplied; nothing changes for a CPU's.
    """
    if like.device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    settings = cudnn.conv, torch.backends.cuda.matmul
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision
