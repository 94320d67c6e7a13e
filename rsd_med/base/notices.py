"""What the user should know and no error is: one sentence, said once."""

import logging
from functools import cache

_log = logging.getLogger("rsd_med")


@cache
def say_once(sentence: str) -> None:
    """Write a warning to the log (stderr, where nobody listens); the same one only once in a process."""
    _log.warning(sentence)
