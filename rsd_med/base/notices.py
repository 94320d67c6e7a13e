"""What the user should know and no error is: one sentence, said once."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_log = logging.getLogger("rsd_med")


class _Audience:
    """Somebody who hears notices, and what has been said already."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        self.hear = hear
        self.said: set[object] = set()

    def first(self, key: object) -> bool:
        """Whether nothing has been said of this; from now on it has."""
        new = key not in self.said
        self.said.add(key)
        return new


_everybody = _Audience(_log.warning)
_audience: ContextVar[_Audience] = ContextVar("audience", default=_everybody)


@contextmanager
def telling_notices(hear: Callable[[str], None]) -> Iterator[None]:
    """Give the notices of a block to somebody of its own, to whom nothing has been said yet, and to no log."""
    token = _audience.set(_Audience(hear))
    try:
        yield
    finally:
        _audience.reset(token)


def say_once(sentence: str) -> None:
    """Write a warning to the log (stderr, where nobody listens); the same one only once in a process."""
    audience = _audience.get()
    if audience.first(sentence):
        audience.hear(sentence)


def forget_what_was_said() -> None:
    """Let notices be said once more in this process."""
    _everybody.said.clear()


class FirstOf:
    """Says what many files or slices have in common of the first of them alone.

    Parameters
    ----------
    others
        Ends the sentence: what the user should know of the others.
    """

    def __init__(self, others: str = "others like it are not named") -> None:
        self.others = others

    def say(self, kind: str, sentence: str) -> None:
        """Say a sentence, which ends without a full stop, if it is the first of its kind in this process."""
        if _audience.get().first((self, kind)):
            say_once(f"{sentence} ({self.others}).")
