"""How many cases a study needs, against exact sums of whole numbers."""

from fractions import Fraction
from math import comb

import pytest

from apps.inspector.study.power import answers_needed, cases_needed, main, power
from rsd_med.base.errors import ProtocolError


def exact_power(answers: int, share: Fraction, level: Fraction) -> Fraction:
    """Add up the chances of all results that the two-sided exact test calls significant."""
    total = Fraction(0)
    for wins in range(answers + 1):
        rarer = min(wins, answers - wins)
        p_value = min(Fraction(1), 2 * Fraction(sum(comb(answers, k) for k in range(rarer + 1)), 2**answers))
        if p_value <= level:
            total += comb(answers, wins) * share**wins * (1 - share) ** (answers - wins)
    return total


@pytest.mark.parametrize("share", [Fraction(65, 100), Fraction(8, 10), Fraction(1, 5)])
@pytest.mark.parametrize("level", [Fraction(5, 100), Fraction(1, 100)])
def test_power_is_that_of_the_exact_test(share, level):
    for answers in (1, 5, 6, 9, 17, 40):
        assert power(answers, float(share), float(level)) == pytest.approx(
            float(exact_power(answers, share, level)), abs=1e-12
        )


@pytest.mark.parametrize(("share", "wanted"), [(Fraction(7, 10), Fraction(8, 10)), (Fraction(9, 10), Fraction(9, 10))])
def test_from_the_number_named_on_the_power_is_always_enough_and_one_before_it_is_not(share, wanted):
    needed = answers_needed(float(share), float(wanted))
    level = Fraction(5, 100)
    assert exact_power(needed - 1, share, level) < wanted
    assert all(exact_power(answers, share, level) >= wanted for answers in range(needed, needed + 30))
    assert answers_needed(float(1 - share), float(wanted)) == needed


def test_readers_who_agree_and_answers_without_a_preference_cost_cases(capsys):
    alone = answers_needed(0.7)
    assert cases_needed(0.7) == alone
    assert cases_needed(0.7, readers=3) == -(-alone // 3)  # who judge each for themselves
    assert cases_needed(0.7, readers=3, correlation=1.0) == alone  # who all say the same
    assert cases_needed(0.7, equal=0.5) == 2 * alone
    assert main(["--share", "0.7", "--readers", "3", "--correlation", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"{alone} cases: with 3 readers of each, a preference of 70% is found")


def test_what_no_study_has_is_refused():
    for given in ({"share": 0.5}, {"share": 1.5}, {"share": 0.7, "readers": 0}, {"share": 0.7, "equal": 1.0}):
        with pytest.raises(ProtocolError):
            cases_needed(**given)
