"""What answers say, with intervals: shares, orders, agreement.

Shares have Wilson's interval, orders Bradley and Terry's strengths, agreement Cohen's and Fleiss' kappa. Answers on one
case are not independent of each other, so whatever is reported also gets a bootstrap that draws whole cases.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Item = TypeVar("Item")
RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval; NaN where there is none.

    Attributes
    ----------
    value, low, high
        The figure and its bounds.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Strengths:
    """Bradley and Terry's strengths.

    Attributes
    ----------
    names
        What was compared.
    log_strengths
        Natural logarithms, summing to zero: the odds that i beats j are exp(l_i - l_j).
    errors
        Their standard errors.
    """

    names: tuple[str, ...]
    log_strengths: np.ndarray
    errors: np.ndarray


def wilson(successes: int, total: int) -> Interval:
    """Return a share with Wilson's score interval, 95 %, without continuity correction.

    Wilson, J. Am. Stat. Assoc. 22, 209 (1927). It stays within 0 and 1 and holds at 0 and at all successes.
    """
    from scipy.stats import binomtest

    if total == 0:
        return Interval(math.nan, math.nan, math.nan)
    wilson = binomtest(successes, total).proportion_ci(0.95, method="wilson")
    return Interval(successes / total, float(wilson.low), float(wilson.high))


def sign_test(successes: int, total: int) -> float:
    """Return the two-sided p-value of the exact binomial test against 1/2; NaN without data."""
    from scipy.stats import binomtest

    return float(binomtest(successes, total).pvalue) if total else math.nan


def bradley_terry(names: Sequence[str], wins: np.ndarray) -> Strengths | None:
    """Fit strengths to a table of comparisons by maximum likelihood.

    Hunter's minorise-maximise iteration (Ann. Stat. 32, 384 (2004)); standard errors from the observed information,
    for strengths that sum to zero. A tie counts as half a win for each.

    Parameters
    ----------
    names
        What was compared.
    wins
        float64, (n, n): how often i beat j; the diagonal is not read.

    Returns
    -------
    Strengths or None
        None if there is no finite maximum: some were never beaten by, or never compared with, the rest.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    table = np.array(wins, dtype=np.float64)
    np.fill_diagonal(table, 0)
    count = len(names)
    parts, _ = connected_components(csr_array(table > 0), directed=True, connection="strong")
    if parts > 1 or count < 2:
        return None
    met, won = table + table.T, table.sum(1)
    strengths = np.ones(count)
    for _ in range(100_000):
        renewed = won / (met / (strengths[:, None] + strengths[None])).sum(1)
        renewed /= np.exp(np.log(renewed).mean())
        change = np.abs(np.log(renewed / strengths)).max()
        strengths = renewed
        if change < 1e-12:
            break
    share = strengths[:, None] / (strengths[:, None] + strengths[None])
    weight = met * share * share.T
    information = np.diag(weight.sum(1)) - weight
    errors = np.sqrt(np.diag(np.linalg.pinv(information)))
    return Strengths(tuple(names), np.log(strengths), errors)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Return the agreement of two series of labels beyond chance.

    Cohen, Educ. Psychol. Meas. 20, 37 (1960). NaN if both only ever say one and the same thing.
    """
    if len(first) != len(second):
        raise ValueError("two raters label the same items")
    labels = sorted({*first, *second}, key=str)
    table = np.zeros((len(labels), len(labels)))
    for one, other in zip(first, second, strict=True):
        table[labels.index(one), labels.index(other)] += 1
    return _beyond_chance(np.trace(table), table.sum(0) @ table.sum(1) / max(table.sum(), 1), table.sum())


def fleiss_kappa(counts: np.ndarray) -> float:
    """Return the agreement of several raters beyond chance.

    Fleiss, Psychol. Bull. 76, 378 (1971). NaN if only one label was ever given.

    Parameters
    ----------
    counts
        (items, labels): how many raters gave each label; every item has the same number of raters, two or more.
    """
    table = np.asarray(counts, dtype=np.float64)
    raters = table.sum(1)
    if len(table) == 0:
        return math.nan
    if (raters != raters[0]).any() or raters[0] < 2:
        raise ValueError("every item needs the same number of raters, two or more")
    agreed = ((table**2).sum(1) - raters) / (raters * (raters - 1))
    shares = table.sum(0) / table.sum()
    return _beyond_chance(agreed.mean(), (shares**2).sum(), 1.0)


def kendall_w(ranks: np.ndarray) -> float:
    """Return Kendall's concordance of ranks (raters, items) without ties: 0 (none) to 1 (all the same order)."""
    table = np.asarray(ranks, dtype=np.float64)
    raters, items = table.shape
    if raters < 2 or items < 2:
        return math.nan
    sums = table.sum(0)
    return float(12 * ((sums - sums.mean()) ** 2).sum() / (raters**2 * (items**3 - items)))


def bootstrap_by_case(
    cases: Mapping[str, Sequence[Item]],
    figure: Callable[[list[Item]], float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Return a figure of all answers, with the 95 % percentile interval over resampled cases.

    Parameters
    ----------
    cases
        Answers by case: a case is drawn with all its answers or not at all.
    figure
        Of a list of answers; NaN where a resample has none.
    seed
        Of the draws.
    resamples
        How many.
    """
    groups = [list(answers) for answers in cases.values()]
    value = figure([answer for group in groups for answer in group]) if groups else math.nan
    if len(groups) < 2:
        return Interval(value, math.nan, math.nan)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(groups), size=(resamples, len(groups)))
    figures = np.array([figure([answer for group in row for answer in groups[group]]) for row in drawn.tolist()])
    figures = figures[np.isfinite(figures)]
    if not figures.size:
        return Interval(value, math.nan, math.nan)
    low, high = np.percentile(figures, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def label_counts(items: Mapping[Any, Sequence[Hashable]], raters: int) -> np.ndarray:
    """Count labels for `fleiss_kappa`: only items that exactly ``raters`` readers have answered."""
    full = [answers for answers in items.values() if len(answers) == raters]
    labels = sorted({label for answers in full for label in answers}, key=str)
    return np.array([[list(answers).count(label) for label in labels] for answers in full], dtype=float).reshape(
        len(full), len(labels)
    )


def _beyond_chance(agreed: float, expected: float, total: float) -> float:
    return float((agreed - expected) / (total - expected)) if total > expected else math.nan
