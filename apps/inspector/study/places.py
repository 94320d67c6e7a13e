"""Whether readers favour a place, whatever is shown there: position bias, and whether the places were balanced."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from .settings import EQUAL, StudySettings
from .statistics import sign_test, wilson
from .tables import Answer, Table, p_text, percent_text, question_of

ALL = "all readers"


def places(settings: StudySettings, answers: Sequence[Answer]) -> list[Table]:
    """Return the table of places; none for questions that show one image."""
    if settings.question.kind == "preference":
        return [_sides(settings, answers)]
    return [_ranked_places(settings, answers)] if settings.question.kind == "ranking" else []


def _sides(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    """Return how often each reader took the left image.

    Each arm stands on the left half of the times, so a reader who looks at the images alone takes the left one in half
    of the answers, whatever the preference. Repeated questions are shown the other way round: one who took the same
    side twice has taken two different images.
    """
    rows = []
    for reader in (ALL, *settings.readers):
        own = [answer for answer in answers if reader in (ALL, answer["reader"])]
        first = [answer for answer in own if not answer["repeat"]]
        chosen = [answer for answer in first if answer["choice"] != EQUAL]
        left = sum(answer["choice"] == answer["arms"][0] for answer in chosen)
        on_left = Counter(answer["arms"][0] for answer in first)
        twice: dict[Any, list[int]] = defaultdict(list)
        for answer in own:
            if answer["choice"] != EQUAL:
                twice[answer["reader"], question_of(answer)].append(answer["arms"].index(answer["choice"]))
        both = [given for given in twice.values() if len(given) == 2]
        rows.append(
            (
                reader,
                " : ".join(str(on_left[arm]) for arm in settings.arms),
                percent_text(wilson(left, len(chosen))),
                p_text(sign_test(left, len(chosen))),
                f"{sum(one == other for one, other in both)} of {len(both)}",
            )
        )
    shown = f"left was ({' : '.join(settings.arms)})"
    return Table("Sides", ("reader", shown, "took the left (Wilson)", "binomial p", "same side when turned"), rows)


def _ranked_places(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    """Return how often what stood at each place was ranked first; each arm stands at each place equally often."""
    first = [answer for answer in answers if not answer["repeat"]]
    rows = []
    for place in range(len(settings.arms)):
        best = sum(answer["choice"].split(">")[0] == answer["arms"][place] for answer in first)
        shown = Counter(answer["arms"][place] for answer in first)
        rows.append(
            (
                f"place {place + 1} from the left",
                " : ".join(str(shown[arm]) for arm in settings.arms),
                percent_text(wilson(best, len(first))),
            )
        )
    columns = ("place", f"stood there ({' : '.join(settings.arms)})", "ranked first (Wilson)")
    return Table(f"Places (without bias each gets {1 / len(settings.arms):.0%})", columns, rows)
