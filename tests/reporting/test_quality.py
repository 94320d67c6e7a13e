"""What is said of a model by itself: each figure against that of real images."""

import json

import pytest

from rsd_med.reporting.cards import cards
from rsd_med.reporting.quality import describe_floor, judge, listed, no_air, worst
from rsd_med.reporting.record import read_run
from rsd_med.reporting.spectrum import spectrum_of
from tests.reporting.conftest import METRICS


@pytest.fixture
def run(empty_run):
    """A run with figures and nothing else."""
    empty_run.metrics.write_text(json.dumps(METRICS))
    return empty_run


def judged(run, key: str):
    return {judgement.key: judgement for judgement in judge(read_run(run), "student")}.get(key)


@pytest.mark.parametrize(
    ("key", "value", "grade", "beside"),
    [
        ("fd", 0.8, "good", "2.0 × that of real images, 0.400"),
        ("fd", 1.6, "fair", "4.0 × that of real images, 0.400"),
        ("fd", 1.61, "poor", "4.0 × that of real images, 0.400"),
        ("coverage", 0.665, "good", "real images 95 %"),
        ("coverage", 0.08, "poor", "real images 95 %"),
        ("precision", 0.5, "fair", "real images 90 %"),
        ("air", 0.0139, "good", "reference 0.30 %"),
        ("air", 0.03, "fair", "reference 0.30 %"),
        ("air", 0.05, "poor", "reference 0.30 %"),
    ],
)
def test_each_figure_is_held_against_real_images(run, replace_metrics, key, value, grade, beside):
    replace_metrics(run, lambda metrics: metrics["student"].update({key: value}))
    judgement = judged(run, key)
    assert (judgement.grade, judgement.beside) == (grade, beside)


@pytest.mark.parametrize(
    ("ratios", "grade", "words"),
    [
        ([1.0, 1.1, 0.85, 1.2, 1.5], "good", "they have as much fine structure as the reference, and no more"),
        ([1.0, 1.1, 3.0, 1.2, 1.5], "poor", "they are grainy (3.0 × the reference’s power at 0.75 of Nyquist)"),
        ([1.0, 0.6, 1.0, 1.0, 1.0], "fair", "they are soft (0.60 × the reference’s power at 0.50 of Nyquist)"),
        (
            [1.0, 0.5, 1.5, 1.0, 1.0],
            "fair",
            "they are grainy (1.5 × the reference’s power at 0.75 of Nyquist) and soft",
        ),
        ([1.5, 1.0, 1.0, 1.0, 1.0], "fair", "they have too much coarse structure (1.5 ×"),
        ([1.0, 1.0, 1.0, 2.0, 30.0], "fair", "they show a fine grid or grain (30 × the power in the corners"),
    ],
)
def test_the_spectrum_is_put_into_words(run, replace_metrics, ratios, grade, words):
    replace_metrics(run, lambda metrics: metrics["spectrum"]["over"].update(student=ratios))
    judgement = judged(run, "spectrum_deviation")
    assert judgement.grade == grade
    assert judgement.words.startswith(words)


def test_what_real_images_differ_by_is_no_fault(run, replace_metrics):
    """Few subjects: two sets of real images differ by more than the eye sees."""

    def differ(metrics):
        metrics["floor"] |= {"spectrum": [1.0, 1.5, 1.4, 9.0, 9.0], "air": 0.03}
        metrics["spectrum"]["over"]["student"] = [1.0, 1.45, 1.0, 9.0, 9.0]
        metrics["student"]["air"] = 0.035

    replace_metrics(run, differ)
    assert judged(run, "spectrum_deviation").grade == judged(run, "air").grade == "good"


def test_without_a_floor_nothing_is_graded_that_needs_one(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.update(floor=None))
    for key in ("fd", "coverage", "precision"):
        assert (judged(run, key).grade, judged(run, key).beside) == ("unknown", "floor not measured")
    # The reference's own spectrum and air are there all the same.
    assert judged(run, "spectrum_deviation").grade == "good"
    assert judged(run, "air").grade == "good"
    assert describe_floor(read_run(run)) is None


def test_photographs_have_no_air_and_that_is_said(run, replace_metrics):
    assert no_air(read_run(run)) is None

    def photographs(metrics):
        metrics["reference_air"] = None
        del metrics["student"]["air"]

    replace_metrics(run, photographs)
    assert judged(run, "air") is None
    assert "Air was not measured" in no_air(read_run(run))


@pytest.mark.parametrize(
    "spectrum", [None, {"frequencies": "x"}, {"frequencies": [0.5], "over": {"student": [1.0, 2.0]}},
                 {"frequencies": [0.5], "over": {"student": [float("nan")]}},
                 {"frequencies": [0.5], "over": {"student": [0.0]}}, {"frequencies": [2.0], "over": {"student": [1.0]}}]
)  # fmt: skip
def test_a_damaged_spectrum_is_none(run, replace_metrics, spectrum):
    replace_metrics(run, lambda metrics: metrics.update(spectrum=spectrum))
    assert spectrum_of(read_run(run), "student") is None
    assert judged(run, "spectrum_deviation") is None


def test_where_the_floor_is_from_is_said(run, replace_metrics):
    assert "1,000 clean images of the training data" in describe_floor(read_run(run))
    replace_metrics(run, lambda metrics: metrics["floor"].update(origin="halves"))
    assert "one half of the reference (1,000 images) against the other (500)" in describe_floor(read_run(run))


def test_without_clean_images_the_cards_show_what_is_left(run, replace_metrics):
    def forget(metrics):
        metrics["student"] = {"proximal_fd": 0.644, "seconds_per_image": 2.5, "network_calls": 4}
        for name in ("floor", "spectrum", "reference_air"):
            del metrics[name]

    replace_metrics(run, forget)
    text = cards(read_run(run), "student")
    for words in ("Proximal distance", "0.644", "2.50 s", "4 network calls"):
        assert words in text
    assert "Coverage" not in text


def test_grades_and_lists():
    assert worst([], "fd") == "unknown"
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
