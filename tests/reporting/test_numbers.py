import math

import pytest

from rsd_med.reporting.numbers import compact, duration, significant, times, whole


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (19.53, "19.5"),
        (9.999, "10.0"),
        (0.04118, "0.0412"),
        (12345.6, "12,346"),
        (3.1e-6, "3.10 × 10⁻⁶"),
        (2.5e12, "2.50 × 10¹²"),
        (-13.68, "−13.7"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "not finite"),
        (math.inf, "not finite"),
    ],
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.42 s"),
        (34.7, "35 s"),
        (59.7, "1 min 0 s"),
        (280, "4 min 40 s"),
        (3599.9, "1 h 0 min"),
        (4320, "1 h 12 min"),
        (2 * 86400 + 3 * 3600, "2 d 3 h"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_counts_axis_labels_and_factors():
    assert [whole(v) for v in (12345, None, math.nan)] == ["12,345", "–", "not finite"]
    assert [compact(v) for v in (0, 0.5, -1, 20_000, 1_500_000)] == ["0", "0.5", "−1", "20 k", "1.5 M"]
    assert [times(v) for v in (0.2467, 33.47, 1.0)] == ["0.25 ×", "33 ×", "1.0 ×"]
