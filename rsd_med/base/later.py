"""What the host wants to know of a GPU's numbers, read when they have arrived: no step waits for the one before.

On a CPU everything is known at once.
"""

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor


class Later:
    """Numbers on their way to the host.

    Parameters
    ----------
    numbers
        A small tensor; a GPU's is copied to pinned memory behind the work that makes it.
    """

    def __init__(self, numbers: Tensor) -> None:
        self._numbers = numbers.detach()
        self._arrival: torch.cuda.Event | None = None
        if numbers.device.type == "cuda":
            self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            self._numbers.copy_(numbers.detach(), non_blocking=True)
            self._arrival = torch.cuda.Event()
            self._arrival.record()

    @property
    def arrived(self) -> bool:
        """Whether the numbers can be read without waiting."""
        return self._arrival is None or self._arrival.query()

    def read(self) -> Tensor:
        """Return the numbers on the CPU; wait for them if need be."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._numbers


_pending: deque[tuple[Later, Callable[[], Exception]]] = deque()


def require(holds: Tensor, error: Callable[[], Exception]) -> None:
    """Raise an error where a condition does not hold: at once on a CPU, in a later `check` for a GPU's.

    Parameters
    ----------
    holds
        The condition, one boolean.
    error
        Makes the error; it may read tensors.
    """
    verdict = Later(holds)
    if holds.device.type != "cpu":
        _pending.append((verdict, error))
    elif not bool(verdict.read()):
        raise error()


def check(*, wait: bool = False) -> None:
    """Raise the error of the first condition that is known not to hold.

    Parameters
    ----------
    wait
        Also ask for those that are still on their way.
    """
    while _pending and (wait or _pending[0][0].arrived):
        verdict, error = _pending.popleft()
        if not bool(verdict.read()):
            _pending.clear()
            raise error()
