"""How long work tells how far it is."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Progress = Callable[[float], None]
"""Called with the share of the work that is done, in [0, 1]; whatever it raises ends the work."""

FIRST, EVERY = 5.0, 10.0
"""Seconds before the first word about work, and between words."""

Item = TypeVar("Item")
_teller: ContextVar[Callable[[str], None] | None] = ContextVar("teller", default=None)


def part_of(progress: Progress, number: int, total: int) -> Progress:
    """Return what tells of part ``number`` of ``total`` equal parts of some work."""
    return lambda done: progress((number + done) / total)


def silent(_: float) -> None:
    """Report to nobody."""


@contextmanager
def telling(tell: Callable[[str], None] | None) -> Iterator[None]:
    """Let ``tell`` be given the sentences of `watched` within a block; None: nobody."""
    token = _teller.set(tell)
    try:
        yield
    finally:
        _teller.reset(token)


@contextmanager
def doing(name: str) -> Iterator[None]:
    """Begin the sentences of a block with what is being done: "teacher.heun: …"."""
    tell = _teller.get()
    with telling(None if tell is None else lambda sentence: tell(f"{name}: {sentence}")):
        yield


def tell_on_stderr(sentence: str) -> None:
    """Print one sentence for a person who waits; a progress bar stays whole."""
    from tqdm import tqdm

    tqdm.write(sentence, file=sys.stderr)
    sys.stderr.flush()


def watched(items: Sequence[Item], name: str) -> Iterator[Item]:
    """Yield items; where working through them takes more than five seconds, say how far it is and how long it takes.

    Parameters
    ----------
    items
        What is worked on, one after the other.
    name
        What is done with them: "reading the reference".
    """
    began = last = time.monotonic()
    for number, item in enumerate(items):
        yield item
        now, tell = time.monotonic(), _teller.get()
        if tell is None or number + 1 == len(items) or now - began < FIRST or (last > began and now - last < EVERY):
            continue
        last = now
        left = (now - began) / (number + 1) * (len(items) - number - 1)
        tell(f"{name}: {number + 1:,} of {len(items):,}, {left:.0f} s left")
