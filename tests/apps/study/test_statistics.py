"""Intervals, strengths and agreement against published numbers."""

import math

import numpy as np
import pytest

from apps.inspector.study.statistics import (
    bootstrap_by_case,
    bradley_terry,
    cohen_kappa,
    fleiss_kappa,
    kendall_w,
    label_counts,
    sign_test,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    # Newcombe, Stat. Med. 17, 857 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_newcombes_table(successes, total, low, high):
    found = wilson(successes, total)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == successes / total


def test_without_answers_there_is_no_share():
    assert math.isnan(wilson(0, 0).value)
    assert math.isnan(sign_test(0, 0))


def test_the_sign_test_is_exact():
    assert sign_test(9, 10) == pytest.approx(2 * 11 / 1024)


# Agresti, Categorical Data Analysis: American League 1987, wins of row over column.
TEAMS = ("Milwaukee", "Detroit", "Toronto", "New York", "Boston", "Cleveland", "Baltimore")
WINS = np.array([
    [0, 7, 9, 7, 7, 9, 11],
    [6, 0, 7, 5, 11, 9, 9],
    [4, 6, 0, 7, 7, 8, 12],
    [6, 8, 6, 0, 6, 7, 10],
    [6, 2, 6, 7, 0, 7, 12],
    [4, 4, 5, 6, 6, 0, 6],
    [2, 4, 1, 3, 1, 7, 0],
])  # fmt: skip


def test_bradley_terry_gives_agrestis_baseball_teams():
    found = bradley_terry(TEAMS, WINS)
    against_baltimore = found.log_strengths - found.log_strengths[-1]
    assert np.round(against_baltimore, 2).tolist() == [1.58, 1.44, 1.29, 1.25, 1.11, 0.68, 0.0]


def test_errors_of_two_arms_are_those_of_their_log_odds():
    found = bradley_terry(("a", "b"), np.array([[0, 30], [10, 0]]))
    assert found.log_strengths[0] - found.log_strengths[1] == pytest.approx(math.log(3))
    # The difference has variance 1/30 + 1/10; each strength is half of it.
    assert found.errors == pytest.approx([math.sqrt(1 / 30 + 1 / 10) / 2] * 2)


@pytest.mark.parametrize("wins", [[[0, 5], [0, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]]])
def test_strengths_without_a_finite_maximum_are_not_invented(wins):
    assert bradley_terry("abc"[: len(wins)], np.array(wins)) is None


def test_cohens_kappa_of_the_textbook_table():
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert cohen_kappa(*zip(*pairs, strict=True)) == pytest.approx(0.4)
    assert cohen_kappa("abab", "baba") == -1
    assert cohen_kappa("abc", "abc") == 1
    assert math.isnan(cohen_kappa("aaa", "aaa"))


def test_fleiss_kappa_of_fleiss_own_example():
    # Fleiss 1971 as retold widely: 14 raters, 10 subjects, 5 categories; kappa 0.210.
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)
    with pytest.raises(ValueError, match="same number of raters"):
        fleiss_kappa(np.array([[1, 1], [2, 1]]))


def test_only_items_of_all_readers_are_counted():
    counts = label_counts({1: ["a", "b"], 2: ["a"], 3: ["b", "b"]}, 2)
    assert counts.tolist() == [[1, 1], [0, 2]]


def test_kendalls_w_runs_from_none_to_one():
    assert kendall_w(np.array([[1, 2, 3], [1, 2, 3], [1, 2, 3]])) == 1
    assert kendall_w(np.array([[1, 2, 3], [3, 2, 1]])) == 0


def test_the_bootstrap_draws_cases_not_answers():
    generator = np.random.default_rng(0)
    # Within a case all answers are the same: ten answers carry no more than one.
    cases = {str(i): [float(v)] * 10 for i, v in enumerate(generator.integers(0, 2, 40))}
    values = np.array([answers[0] for answers in cases.values()])
    found = bootstrap_by_case(cases, lambda chosen: float(np.mean(chosen)), seed=1)
    error = math.sqrt(values.mean() * (1 - values.mean()) / 40)
    assert found.value == values.mean()
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    again = bootstrap_by_case(cases, lambda chosen: float(np.mean(chosen)), seed=1)
    assert again == found
    assert math.isnan(bootstrap_by_case({"one": [1.0]}, np.mean).low)
