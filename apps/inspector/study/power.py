"""How many cases a side-by-side study needs: ``python -m apps.inspector.study.power --share 0.65``.

The analysis tests the preference of one arm over another with the exact two-sided binomial test against 1/2
(`statistics.sign_test`). With n answers that prefer one of the two, it finds a difference when the rarer one was chosen
at most c times, where c is the largest number with

    2 Σ_{k ≤ c} C(n, k) / 2^n ≤ α.

If one arm is preferred with probability p, that happens with probability (power)

    Σ_{k ≤ c} C(n, k) [p^k (1 − p)^(n−k) + (1 − p)^k p^(n−k)].

Power does not rise evenly with n, so the number asked for is the smallest from which on it stays above what is wanted.
Answers of m readers on one case are alike: with correlation ρ between them, m n' of them count as
m n' / (1 + (m − 1) ρ) independent ones (the design effect: Kish, Survey Sampling, Wiley 1965, section 5.4). A share
e of answers "no difference" is lost to the test. So the cases are n (1 + (m − 1) ρ) / (m (1 − e)), rounded up.
"""

import argparse
import math
import sys

from rsd_med.base.command import run_command
from rsd_med.base.errors import ProtocolError

MOST_ANSWERS = 20_000


def power(answers: int, share: float, level: float = 0.05) -> float:
    """Return the probability that the exact two-sided binomial test finds a preference.

    Parameters
    ----------
    answers
        Independent answers that prefer one of the two images.
    share
        Probability that an answer prefers the better arm, between 0 and 1.
    level
        Of the test.
    """
    from scipy.stats import binom

    below = int(binom.ppf(level / 2, answers, 0.5))
    critical = next((k for k in (below, below - 1) if k >= 0 and 2 * binom.cdf(k, answers, 0.5) <= level), None)
    if critical is None:
        return 0.0
    return float(binom.cdf(critical, answers, share) + binom.cdf(critical, answers, 1 - share))


def answers_needed(share: float, wanted: float = 0.8, level: float = 0.05) -> int:
    """Return the smallest number of independent answers from which on the power stays above what is wanted.

    Raises
    ------
    ProtocolError
        For a share of one half, or so near to it that more than 20,000 answers would be needed.
    """
    # Power falls between two steps of c by less than a step of c adds: once it has stayed above for a whole stretch, it
    # stays. The stretch is far longer than the few answers between two steps.
    distance = abs(share - 0.5)
    stretch, enough = 50, None
    for answers in range(1, MOST_ANSWERS if distance > 0 else 1):
        if power(answers, share, level) < wanted:
            enough = None
        elif enough is None:
            enough = answers
        if enough is not None and answers - enough >= stretch:
            return enough
    raise ProtocolError(
        f"a share of {share:g} is too near to one half: more than {MOST_ANSWERS:,} answers would be needed; ask for a "
        "larger difference."
    )


def cases_needed(
    share: float,
    *,
    readers: int = 1,
    equal: float = 0.0,
    correlation: float = 0.0,
    wanted: float = 0.8,
    level: float = 0.05,
) -> int:
    """Return how many cases a side-by-side study of two arms needs.

    Parameters
    ----------
    share
        Of answers that prefer the better arm, among those that prefer one: 0.65 says 65 to 35.
    readers
        How many answer each case.
    equal
        Share of answers "no difference".
    correlation
        Between the answers of two readers on one case: 0 if each judges for themselves, 1 if all say the same.
    wanted, level
        Power, and level of the two-sided test.

    Raises
    ------
    ProtocolError
        For numbers that no study has.
    """
    for name, value, low, high in (
        ("--share", share, 0.0, 1.0),
        ("--equal", equal, 0.0, 0.99),
        ("--correlation", correlation, 0.0, 1.0),
        ("--power", wanted, 0.01, 0.9999),
        ("--level", level, 1e-6, 0.5),
        ("--readers", readers, 1, 1000),
    ):
        if not low <= value <= high:
            raise ProtocolError(f"{name} goes from {low:g} to {high:g}, not {value:g}.")
    effect = 1 + (readers - 1) * correlation
    return math.ceil(answers_needed(share, wanted, level) * effect / (readers * (1 - equal)) - 1e-9)


def main(arguments: list[str] | None = None) -> int:
    """Print how many cases are needed."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.power", description="How many cases a side-by-side study needs."
    )
    parser.add_argument("--share", type=float, required=True, help="preference to be found: 0.65 says 65 to 35")
    parser.add_argument("--readers", type=int, default=1, help="readers of each case (default: 1)")
    parser.add_argument("--equal", type=float, default=0.0, help='share of answers "no difference" (default: 0)')
    parser.add_argument(
        "--correlation",
        type=float,
        default=0.5,
        help="between the answers of two readers on one case (default: 0.5)",
    )
    parser.add_argument("--power", type=float, default=0.8, help="(default: 0.8)")
    parser.add_argument("--level", type=float, default=0.05, help="of the two-sided test (default: 0.05)")
    asked = parser.parse_args(arguments)
    cases = cases_needed(
        asked.share,
        readers=asked.readers,
        equal=asked.equal,
        correlation=asked.correlation,
        wanted=asked.power,
        level=asked.level,
    )
    print(
        f"{cases} cases: with {asked.readers} reader{'s' if asked.readers != 1 else ''} of each, a preference of "
        f"{asked.share:.0%} is found with a power of {asked.power:.0%} (exact binomial test, two-sided, level "
        f"{asked.level:g}; {asked.equal:.0%} no difference; correlation of readers {asked.correlation:g})."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
