"""What the user should know and no error is: one sentence, said once."""

import logging
from functools import cache

_log = logging.getLogger("rsd_med")


@cache
def say_once(sentence: str) -> None:
    """Write a warning to the log (stderr, where nobody listens); the same one only once in a process."""
    _log.warning(sentence)


class FirstOf:
    """Says what many files or slices have in common of the first of them alone.

    Parameters
    ----------
    others
        Ends the sentence: what the user should know of the others.
    """

    def __init__(self, others: str = "others like it are not named") -> None:
        self.others = others
        self.said: set[str] = set()

    def say(self, kind: str, sentence: str) -> None:
        """Say a sentence, which ends without a full stop, if it is the first of its kind in this process."""
        if kind not in self.said:
            self.said.add(kind)
            say_once(f"{sentence} ({self.others}).")
