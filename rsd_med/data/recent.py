"""The arrays read last, within a budget of memory."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np


class RecentArrays:
    """Keeps the arrays used last, so that neighbouring items of one file do not read it again.

    A copy sent to another process starts empty.

    Parameters
    ----------
    budget_bytes
        How much is kept; the array used last is kept even if it alone is larger.
    """

    def __init__(self, budget_bytes: int = 256 * 2**20) -> None:
        self.budget_bytes = budget_bytes
        self._kept: OrderedDict[object, np.ndarray] = OrderedDict()
        self._bytes = 0

    def get(self, key: object, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array of ``key``, read anew if it is no longer here."""
        if key not in self._kept:
            self._kept[key] = read()
            self._bytes += self._kept[key].nbytes
        self._kept.move_to_end(key)
        while len(self._kept) > 1 and self._bytes > self.budget_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return self._kept[key]

    def __getstate__(self) -> dict[str, Any]:
        """Leave the arrays behind."""
        return {"budget_bytes": self.budget_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start empty."""
        self.__init__(state["budget_bytes"])  # type: ignore[misc]
