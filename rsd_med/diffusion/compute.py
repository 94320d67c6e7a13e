"""How a network is computed: what changes its speed, and what it computes by rounding alone."""

import sys
from typing import Any, Literal

import torch
from pydantic import Field

from rsd_med.base.settings import Settings

Precision = Literal["float32", "tf32", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]


class ComputeOptions(Settings):
    """One way of computing a network."""

    precision: Precision = Field("float32", description="of the arithmetic inside the network")
    memory_format: MemoryFormat = Field(
        "contiguous",
        description="whether the channels of a pixel lie apart (contiguous) or beside one another in memory",
    )
    compile: bool | Literal["reduce-overhead"] = Field(
        False,
        description="whether `torch.compile` makes kernels of its own for it; reduce-overhead: and a GPU launches them "
        "as one graph",
    )

    @property
    def autocast(self) -> torch.dtype | None:
        """Data type inside the network, or None for float32 (and TF32, which is a way of multiplying it)."""
        return torch.bfloat16 if self.precision == "bfloat16" else None

    @property
    def layout(self) -> torch.memory_format:
        """The memory format as torch names it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def __str__(self) -> str:
        """Name what differs from float32, contiguous and eager."""
        return f"{self.precision}, {self.memory_format.replace('_', ' ')}{_how_compiled(self.compile)}"


def begin_pass() -> None:
    """Say that what graphs of a GPU have answered before may be overwritten: their answers share memory."""
    if "torch._inductor.cudagraph_trees" in sys.modules:  # else there are no graphs, and it takes seconds to import
        torch.compiler.cudagraph_mark_step_begin()


def _how_compiled(stated: bool | str) -> str:
    return f", compiled ({stated})" if isinstance(stated, str) else ", compiled" if stated else ""


def set_up(device: torch.device, precision: str) -> None:
    """Let a GPU choose its convolutions by trial, and multiply float32 numbers as the protocol says.

    Parameters
    ----------
    device
        Where networks will be computed; nothing is set for a CPU.
    precision
        The protocol's: ``tf32`` rounds the factors of float32 products to 10 bits, all others keep all 23.
    """
    if device.type != "cuda":
        return
    cudnn: Any = torch.backends.cudnn
    products = "tf32" if precision == "tf32" else "ieee"
    cudnn.benchmark = True
    cudnn.conv.fp32_precision = products
    cudnn.rnn.fp32_precision = products  # there is none; torch refuses to tell of one that differs
    torch.backends.cuda.matmul.fp32_precision = products


def has_bfloat16(device: torch.device | str) -> bool:
    """Say whether a device computes in bfloat16 by itself, without which the conversions cost more than they save."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
