"""A batch of observations: the data, and everything known about how they were measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol, Self

import torch
from jaxtyping import Inexact
from torch import Tensor

from rsd_med.base.devices import sent
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.tensors import require_batch_index

GENERATED = "generated"
"""The name of every measurement of a generated image: none of them is met twice."""


@dataclass(frozen=True, repr=False)
class Measurement:
    """Observations y = A(x) + sigma e of a batch of images x.

    Attributes
    ----------
    data
        K-space ``(b, coil, y, x)`` complex64, zero where not sampled; or images ``(b, channels, y, x)`` float32 or
        ``(b, 1, y, x)`` complex64. In scaled units.
    operator
        A, with the parameters of each item.
    sigma
        Standard deviation of the noise per real component ``(b,)`` float32, in scaled units.
    scale
        ``(b,)`` float32: the data in the file are ``scale`` times the data here.
    ids
        The name of each item.
    acquired
        The columns of k-space that exist at all, boolean ``(b, x)``: others are zero in the file, and no mask may
        measure them. None is all. They stay on the CPU, where masks are drawn.

    Raises
    ------
    ValueError
        If the attributes disagree about the number of items.
    """

    data: Inexact[Tensor, "b ..."]
    operator: LinearOperator
    sigma: Tensor
    scale: Tensor
    ids: tuple[str, ...]
    acquired: Tensor | None = None

    def __post_init__(self) -> None:
        items = len(self.ids)
        if len(self.data) != items or self.sigma.shape != (items,) or self.scale.shape != (items,):
            raise ValueError(
                f"A measurement of {items} ids needs as many data, sigmas and scales, not {len(self.data)}, "
                f"{tuple(self.sigma.shape)} and {tuple(self.scale.shape)}."
            )

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def __repr__(self) -> str:
        """Tell what it holds, not the numbers: ``<2 of [8, 64, 64] complex64 on cpu> by <...> MultiCoilFourier``."""
        kind = str(self.data.dtype).removeprefix("torch.")
        return f"<{len(self)} of {list(self.data.shape[1:])} {kind} on {self.data.device}> by {self.operator!r}"

    @property
    def size(self) -> tuple[int, int]:
        """The ``(y, x)`` of its images."""
        height, width = (self.operator.domain or self.data.shape)[-2:]
        return height, width

    @property
    def device(self) -> torch.device:
        """Where the data lie, and operator, sigma and scale with them."""
        return self.data.device

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the measurement with all its tensors on a device; from pinned memory, without waiting if asked."""
        return self.with_tensors(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the measurement in memory that a GPU reads by itself; a data loader calls this by its name."""
        return self.with_tensors(Tensor.pin_memory)

    def with_tensors(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the measurement with ``change(tensor)`` in place of every tensor but ``acquired``."""
        return replace(
            self,
            data=change(self.data),
            operator=self.operator.with_tensors(change),
            sigma=change(self.sigma),
            scale=change(self.scale),
        )

    def __getitem__(self, index: slice | Tensor) -> Self:
        """Select items by a slice or a 1-D tensor of numbers or booleans.

        Raises
        ------
        TypeError
            If ``index`` is anything else: a plain number would drop the batch dimension.
        """
        require_batch_index(index)
        numbers = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        if isinstance(index, Tensor):
            index = sent(numbers, self.device) if index.device.type == "cpu" else index
        return replace(
            self,
            data=self.data[index],
            operator=self.operator[index],
            sigma=self.sigma[index],
            scale=self.scale[index],
            acquired=None if self.acquired is None else self.acquired[numbers],
            ids=tuple(self.ids[number] for number in numbers.tolist()),
        )

    @classmethod
    def cat(cls, measurements: "Sequence[Measurement]") -> Self:
        """Stack measurements of one shape and kind of operator to one batch.

        Raises
        ------
        ValueError
            If there is none, or if shapes or operators do not fit together.
        """
        if not measurements:
            raise ValueError("There is no measurement to stack.")
        shapes = {tuple(measurement.data.shape[1:]) for measurement in measurements}
        if len(shapes) > 1:
            raise ValueError(
                f"Measurements of different shapes cannot be stacked: {', '.join(map(str, sorted(shapes)))}."
            )
        acquired = None
        if any(measurement.acquired is not None for measurement in measurements):
            acquired = torch.cat([measurement._columns() for measurement in measurements])
        return cls(
            data=torch.cat([measurement.data for measurement in measurements]),
            operator=LinearOperator.cat([measurement.operator for measurement in measurements]),
            sigma=torch.cat([measurement.sigma for measurement in measurements]),
            scale=torch.cat([measurement.scale for measurement in measurements]),
            ids=tuple(chain.from_iterable(measurement.ids for measurement in measurements)),
            acquired=acquired,
        )

    def _columns(self) -> Tensor:
        """Return the columns that exist, written out."""
        whole = torch.ones(len(self), self.data.shape[-1], dtype=torch.bool)
        return whole if self.acquired is None else self.acquired

    def image(self) -> Inexact[Tensor, "b c y x"]:
        """Return the measurement seen as an image: A^H y for k-space, the data themselves otherwise.

        Returns
        -------
        Tensor
            ``(b, 1, y, x)`` complex64, or the images ``(b, channels, y, x)``.
        """
        return self.operator.H(self.data) if self.operator.complex_domain else self.data


class Conditions(Protocol):
    """Measurements of one shape, of which a batch at a time is asked for: a `Measurement`, or items read from files."""

    @property
    def device(self) -> torch.device:
        """Where a batch lies."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __getitem__(self, index: slice | Tensor, /) -> Measurement:
        """Return some, selected by a slice or a 1-D tensor of numbers."""
