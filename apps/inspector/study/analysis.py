"""What a study's answers say, as tables a person reads: the coordinator's page and the command share them."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .places import places
from .settings import EQUAL, REAL, SYNTHETIC, RealOrSyntheticSettings, StudySettings
from .statistics import (
    bootstrap_by_case,
    bradley_terry,
    cohen_kappa,
    fleiss_kappa,
    kendall_w,
    label_counts,
    sign_test,
    wilson,
)
from .tables import Answer, Table, number_text, p_text, percent_text, question_of

CAVEAT = (
    "Wilson's intervals treat every answer as independent; answers on the same case are not, so read the bootstrap "
    "over cases beside them. Nothing here says that the study was large enough, or that an ethics board approved it. "
    "Telling real from synthetic says nothing about variety or about copies of training images: read it together "
    "with the Fréchet distance and the nearest training measurements."
)


def analyse(settings: StudySettings, answers: Sequence[Answer]) -> list[Table]:
    """Return the tables of a study.

    Parameters
    ----------
    settings
        The study.
    answers
        Of all readers, as in the answer log. Repeated questions count for agreement of readers with themselves only.
    """
    first = [answer for answer in answers if not answer["repeat"]]
    tables = [_counts(settings, answers)]
    if settings.question.kind == "preference":
        tables += [_preferences(settings, first), _strengths(settings, _pairwise(first))]
    elif isinstance(settings.question, RealOrSyntheticSettings):
        tables += [_telling_apart(settings.question, first), _called_real(settings, first)]
    else:
        tables += [_ranks(settings, first), _strengths(settings, _ranked_pairs(first))]
    return [*tables, *places(settings, answers), _agreement(settings, answers)]


def _counts(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    rows = []
    for reader in settings.readers:
        own = [answer for answer in answers if answer["reader"] == reader]
        times = sorted(answer["response_ms"] / 1000 for answer in own if answer.get("response_ms") is not None)
        middle = f"{times[len(times) // 2]:.1f} s" if times else "none"
        rows.append((reader, str(len(own)), str(sum(answer["repeat"] for answer in own)), middle))
    return Table("Answers", ("reader", "answers", "of which repeats", "median time"), rows)


def _preferences(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    rows = []
    for one, other in itertools.combinations(settings.arms, 2):
        met = [answer for answer in answers if {*answer["arms"]} == {one, other}]
        wins, losses = (sum(answer["choice"] == arm for answer in met) for arm in (one, other))

        def share(answers: list[Answer], arm: str = one) -> float:
            values = [0.5 if a["choice"] == EQUAL else float(a["choice"] == arm) for a in answers]
            return float(np.mean(values)) if values else math.nan

        rows.append(
            (
                f"{one} over {other}",
                f"{wins} : {losses}",
                str(len(met) - wins - losses),
                percent_text(wilson(wins, wins + losses)),
                percent_text(bootstrap_by_case(_by_case(met), share, seed=settings.seed)),
                p_text(sign_test(wins, wins + losses)),
            )
        )
    columns = ("pair", "for : against", "equal", "share (Wilson)", "share, equal as half (by case)", "binomial p")
    return Table("Preference", columns, rows)


def _strengths(settings: StudySettings, pairs: Iterable[tuple[str, str, float]]) -> Table:
    wins = np.zeros((len(settings.arms),) * 2)
    for winner, loser, weight in pairs:
        wins[settings.arms.index(winner), settings.arms.index(loser)] += weight
    fitted = bradley_terry(settings.arms, wins)
    columns = ("arm", "log strength (95 %)", "odds against an average arm")
    title = "Bradley–Terry strengths"
    if fitted is None:
        return Table(
            title, columns, [("cannot be fitted: an arm has won or lost every comparison, or too few", "", "")]
        )
    order = np.argsort(-fitted.log_strengths)
    rows = []
    for i in order:
        value, reach = fitted.log_strengths[i], 1.96 * fitted.errors[i]
        rows.append(
            (fitted.names[i], f"{value:.2f} ({value - reach:.2f} to {value + reach:.2f})", f"{math.exp(value):.2f}")
        )
    return Table(title, columns, rows)


def _telling_apart(question: RealOrSyntheticSettings, answers: Sequence[Answer]) -> Table:
    def truth(answer: Answer) -> str:
        return REAL if answer["arms"][0] == question.real else SYNTHETIC

    def right(answers: list[Answer]) -> float:
        return float(np.mean([answer["choice"] == truth(answer) for answer in answers])) if answers else math.nan

    rows = []
    for reader in ("all readers", *sorted({answer["reader"] for answer in answers})):
        own = [answer for answer in answers if reader in ("all readers", answer["reader"])]
        made, real = ([answer for answer in own if truth(answer) == what] for what in (SYNTHETIC, REAL))
        rows.append(
            (
                reader,
                percent_text(wilson(sum(answer["choice"] == truth(answer) for answer in own), len(own))),
                percent_text(bootstrap_by_case(_by_case(own), right)),
                percent_text(wilson(sum(answer["choice"] == SYNTHETIC for answer in made), len(made))),
                percent_text(wilson(sum(answer["choice"] == REAL for answer in real), len(real))),
            )
        )
    columns = ("reader", "right (Wilson)", "right (by case)", "synthetic found", "real called real")
    return Table("Telling real from synthetic (a coin gets 50 %)", columns, rows)


def _called_real(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    rows = []
    for arm in settings.arms:
        shown = [answer for answer in answers if answer["arms"][0] == arm]
        rows.append((arm, percent_text(wilson(sum(answer["choice"] == REAL for answer in shown), len(shown)))))
    return Table("Called real, by arm", ("arm", "share (Wilson)"), rows)


def _ranks(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    rows = []
    for arm in settings.arms:
        places = {
            case: [answer["choice"].split(">").index(arm) + 1 for answer in own]
            for case, own in _by_case(answers).items()
        }
        best = sum(answer["choice"].split(">")[0] == arm for answer in answers)
        mean = bootstrap_by_case(places, lambda ranks: float(np.mean(ranks)), seed=settings.seed)
        shown = f"{mean.value:.2f} ({mean.low:.2f} to {mean.high:.2f})"
        rows.append((arm, shown, percent_text(wilson(best, len(answers)))))
    return Table("Ranks (1 is best)", ("arm", "mean rank (by case)", "ranked first (Wilson)"), rows)


def _agreement(settings: StudySettings, answers: Sequence[Answer]) -> Table:
    rows: list[tuple[str, ...]] = []
    for reader in settings.readers:
        asked: dict[Any, list[str]] = defaultdict(list)
        for answer in answers:
            if answer["reader"] == reader:
                asked[question_of(answer)].append(answer["choice"])
        twice = [given for given in asked.values() if len(given) == 2]
        same = sum(one == other for one, other in twice)
        kappa = cohen_kappa(*zip(*twice, strict=True)) if twice else math.nan
        rows.append(
            (
                f"{reader} with themselves (Cohen)",
                number_text(kappa),
                percent_text(wilson(same, len(twice))),
                str(len(twice)),
            )
        )
    first = [answer for answer in answers if not answer["repeat"]]
    readers = sorted({answer["reader"] for answer in first})
    for one, other in itertools.combinations(readers, 2):
        given = [{question_of(a): a["choice"] for a in first if a["reader"] == reader} for reader in (one, other)]
        common = sorted(given[0].keys() & given[1].keys())
        if common:
            labels = [[series[question] for question in common] for series in given]
            same = sum(a == b for a, b in zip(*labels, strict=True))
            share = percent_text(wilson(same, len(common)))
            rows.append((f"{one} with {other} (Cohen)", number_text(cohen_kappa(*labels)), share, str(len(common))))
    if len(readers) > 1:
        rows.append(_all_readers(settings, first, len(readers)))
    return Table("Agreement", ("who", "kappa", "same answer (Wilson)", "questions"), rows)


def _all_readers(settings: StudySettings, first: Sequence[Answer], count: int) -> tuple[str, ...]:
    items: dict[Any, list[str]] = defaultdict(list)
    for answer in first:
        items[question_of(answer)].append(answer["choice"])
    if settings.question.kind == "ranking":
        full = [given for given in items.values() if len(given) == count]
        each = [
            kendall_w(np.array([[order.split(">").index(arm) for arm in settings.arms] for order in given]))
            for given in full
        ]
        return (
            "all readers (Kendall's W, mean over cases)",
            number_text(float(np.mean(each)) if each else math.nan),
            "",
            str(len(full)),
        )
    table = label_counts(items, count)
    return ("all readers (Fleiss)", number_text(fleiss_kappa(table)), "", str(len(table)))


def _by_case(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    cases: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        cases[answer["case"]].append(answer)
    return cases


def _pairwise(answers: Iterable[Answer]) -> Iterable[tuple[str, str, float]]:
    for answer in answers:
        one, other = answer["arms"]
        if answer["choice"] == EQUAL:
            yield one, other, 0.5
            yield other, one, 0.5
        else:
            yield answer["choice"], other if answer["choice"] == one else one, 1.0


def _ranked_pairs(answers: Iterable[Answer]) -> Iterable[tuple[str, str, float]]:
    for answer in answers:
        for better, worse in itertools.combinations(answer["choice"].split(">"), 2):
            yield better, worse, 1.0
