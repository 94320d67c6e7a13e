"""What each reader is shown, in which order, on which side: fixed by the study, and known to the server alone."""

import hashlib
import hmac
import itertools
import random
from dataclasses import dataclass

from rsd_med.base.randomness import derive_seed

from .settings import StudySettings


@dataclass(frozen=True)
class Trial:
    """One question.

    Attributes
    ----------
    number
        From 0, in the order of this reader.
    case
        Id of the case.
    arms
        From left to right.
    repeat
        Whether the same question was asked before.
    """

    number: int
    case: str
    arms: tuple[str, ...]
    repeat: bool = False


def trials_of(settings: StudySettings, reader: str) -> tuple[Trial, ...]:
    """Return a reader's trials in their order, the same at every call.

    The order of questions is drawn by reader. Sides (or the order from left to right) are balanced, see `_sides`.
    Repeated questions come from the first half and are put into the second, so that much lies between, and they are
    shown the other way round.
    """
    questions = [(case.id, arms) for case in settings.cases for arms in _questions(settings, tuple(case.images))]
    shuffle = random.Random(derive_seed(settings.seed, "study order", reader))
    shuffle.shuffle(questions)
    repeats = round(settings.repeats * len(questions))
    half = (len(questions) + 1) // 2
    repeated = sorted(shuffle.sample(range(half), min(repeats, half)))
    shown = [(case, arms, 0) for case, arms in questions]
    for question in repeated:
        case, arms = questions[question]
        shown.insert(shuffle.randint(half, len(shown)), (case, arms, 1))
    return tuple(
        Trial(number, case, _sides(settings, reader, case, arms)[:: -1 if again else 1], bool(again))
        for number, (case, arms, again) in enumerate(shown)
    )


def opaque_id(key: bytes, reader: str, trial: int, place: int) -> str:
    """Return the name of an image in a trial: says nothing of case or arm, and is another one at every showing."""
    return hmac.new(key, f"{reader}\x1f{trial}\x1f{place}".encode(), hashlib.sha256).hexdigest()[:32]


def _questions(settings: StudySettings, arms: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return which arms of a case are shown together."""
    ordered = [arm for arm in settings.arms if arm in arms]
    if settings.question.kind == "real_or_synthetic":
        return [(arm,) for arm in ordered]
    if settings.question.kind == "preference":
        return list(itertools.combinations(ordered, 2))
    return [tuple(ordered)]


def _sides(settings: StudySettings, reader: str, case: str, arms: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arms from left to right, every arm at every place equally often for each reader and for each case.

    Cases and readers are put into an order by lot. In a block of as many cases as there are arms, one order of the
    arms, drawn for the block, is turned by one place from case to case, and from reader to reader: over a block, and
    over as many readers, every arm stands at every place once. What is left over differs by one at most.
    """
    count = len(arms)
    cases = [other.id for other in settings.cases if {*arms} <= other.images.keys()]
    readers = list(settings.readers)
    random.Random(derive_seed(settings.seed, "study cases", *arms)).shuffle(cases)
    random.Random(derive_seed(settings.seed, "study readers", *arms)).shuffle(readers)
    block, place = divmod(cases.index(case), count)
    order = list(arms)
    random.Random(derive_seed(settings.seed, "study sides", *arms, str(block))).shuffle(order)
    turn = (place + readers.index(reader)) % count
    return (*order[turn:], *order[:turn])
