"""Did you mean: the nearest of the names that exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(word: str, known: Iterable[str], list_all: bool = False) -> str:
    """Return the end of a sentence about an unknown word: ``; did you mean `alpha`?``, or nothing.

    Parameters
    ----------
    word
        What was written.
    known
        What could have been written.
    list_all
        Whether to list all known words when none is near.
    """
    names = list(known)
    folded = {name.casefold(): name for name in names}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    near = near or [name for name in folded if len(word) > 2 and name.startswith(word.casefold())]
    if near:
        return f"; did you mean `{folded[near[0]]}`?"
    return f"; known: {', '.join(names)}" if list_all and names else ""
