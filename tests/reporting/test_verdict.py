import json
import math
import re

import pytest

from rsd_med.metrics.distances import FIGURES
from rsd_med.reporting.numbers import significant
from rsd_med.reporting.record import read_run
from rsd_med.reporting.verdict import compare_models, verdict, verdict_sentences


def models(student: dict | None, **teacher: dict) -> dict:
    found = {f"teacher.{name}": figures for name, figures in teacher.items()}
    return found if student is None else found | {"student": student}


def test_the_best_sampler_is_the_one_of_smallest_distance():
    found = compare_models(
        models(
            {"fd": 2.0, "seconds_per_image": 0.01},
            heun={"fd": 5.0, "seconds_per_image": 0.4},
            truncated={"fd": 4.0, "seconds_per_image": 0.3},
        )
    )
    assert (found.criterion, found.sampler, found.ratio) == ("fd", "truncated", 0.5)
    assert found.speedup == pytest.approx(30)


def test_without_a_reference_the_proximal_distance_decides():
    found = compare_models(models({"proximal_fd": 1.0}, heun={"proximal_fd": 4.0}))
    assert (found.criterion, found.ratio, found.speedup) == ("proximal_fd", 0.25, None)


def test_what_cannot_be_compared_is_not():
    assert compare_models(models(None, heun={"fd": 1.0})) is None
    assert compare_models(models({"fd": math.nan}, heun={"fd": 1.0})) is None
    assert compare_models(models({"fd": 1.0})) is None
    assert compare_models(models({"fd": 1.0}, heun={"proximal_fd": 1.0})) is None
    assert compare_models(models({"fd": 1.0}, heun={"fd": 0.0})).ratio == math.inf


RATIO = "Against the teacher’s best sampler (heun, at 5.04): 0.25 × its distance, 33 × as fast."


def test_absolute_figures_come_first_and_the_ratio_last(run):
    assert verdict_sentences(read_run(run)) == [
        "The student’s images are not far from real ones: Fréchet distance 1.24 (real images 0.400), coverage 81 % "
        "(95 %), precision 83 % (90 %).",
        "They show no grain, no blur and no bright air.",
        RATIO,
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fd": 0.5}, "are close to real ones: Fréchet distance 0.500"),
        ({"fd": 0.5, "coverage": 0.08}, "are far from real ones: Fréchet distance 0.500 (real images 0.400), coverage"),
        ({"fd": 0.5, "precision": 0.09}, "are far from real ones"),
        ({"fd": 10.08}, "are far from real ones: Fréchet distance 10.1"),
        ({"air": 0.05}, "The air is 12 × as bright as in real images (5.0 % of the peak)."),
    ],
)
def test_the_sentences_follow_the_figures(run, replace_metrics, changes, words):
    replace_metrics(run, lambda metrics: metrics["student"].update(changes))
    assert words in verdict(read_run(run))


def test_a_better_ratio_makes_no_good_student(run, replace_metrics):
    """What once was praised: a quarter of a bad teacher's distance, and still nothing like a real image."""

    def worsen(metrics):
        metrics["teacher"]["heun"]["fd"] = 400.0
        metrics["student"]["fd"] = 100.0
        metrics["spectrum"]["over"]["student"] = [1.0, 0.3, 4.0, 20.0, 40.0]

    replace_metrics(run, worsen)
    sentences = verdict_sentences(read_run(run))
    assert "far from real ones" in sentences[0]
    assert sentences[1].startswith("They are grainy (4.0 × the reference’s power at 0.75 of Nyquist) and soft (0.30 ×")
    assert "show a fine grid or grain (40 ×" in sentences[1]
    assert "0.25 × its distance" in sentences[-1]


@pytest.mark.parametrize("fd", [0.44, 5.0])
def test_a_student_that_moved_away_from_the_measurements_is_not_praised(run, replace_metrics, fd):
    """A wrong corruption does this: the clean reference is corrupted wrongly, too, and seems to come closer."""
    replace_metrics(run, lambda metrics: metrics["student"].update(fd=fd, proximal_fd=25.0))
    sentence = verdict(read_run(run))
    assert "contradict each other" in sentence
    assert "(proximal Fréchet distance 25.0 against 1.31)" in sentence
    assert significant(fd) in sentence
    assert not re.search("close|not far", sentence)


@pytest.mark.parametrize(
    ("distances", "praised"),
    [([2.93, 9.0, 25.0], False), ([2.93, 1.1, 25.0], True), ([2.93, 2.93], True), ([2.93], True), ([], True)],
)
def test_a_student_that_only_moved_away_while_it_was_trained_is_not_praised(run, distances, praised):
    lines = [
        {"stage": "student", "images": 100 * number, "proximal_fd": distance}
        for number, distance in enumerate(distances, 1)
    ]
    run.metrics_lines.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    sentence = verdict(read_run(run))
    assert ("not far from real ones" in sentence) == praised
    assert ("only moved away" in sentence) != praised


def test_a_slower_student_is_called_slower(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics["student"].update(seconds_per_image=0.083))
    assert verdict(read_run(run)).endswith("0.25 × its distance, 2.0 × as slow.")


def test_without_a_floor_the_figures_stand_alone(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.update(floor=None))
    first = verdict_sentences(read_run(run))[0]
    assert first == (
        "The student’s images were measured against clean ones: Fréchet distance 1.24, coverage 81 %, precision 83 %."
    )


def test_without_a_reference_the_sentence_says_what_was_compared(run, replace_metrics):
    def forget(metrics):
        for figures in (metrics["student"], metrics["teacher"]["heun"]):
            for name in (*FIGURES, "spectrum_deviation", "air"):
                del figures[name]
        for name in ("floor", "spectrum", "reference_air"):
            del metrics[name]

    replace_metrics(run, forget)
    assert verdict_sentences(read_run(run)) == [
        "The student’s images, corrupted like the measurements, are at a proximal Fréchet distance of 0.644 from them; "
        "there is no clean image to say how good they are.",
        "Against the teacher’s best sampler (heun, at 1.31): 0.49 × its proximal distance, 33 × as fast.",
    ]


def test_a_teacher_alone(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.pop("student"))
    sentences = verdict_sentences(read_run(run))
    assert sentences[0] == "The student has not been trained yet."
    assert sentences[1].startswith(
        "The images of the teacher (heun) are far from real ones: Fréchet distance 5.04 (real images 0.400)"
    )
    assert "They are soft (0.10 ×" in sentences[2]


def test_a_run_that_was_not_evaluated_says_how_far_it_came(run, empty_run):
    run.metrics.unlink()
    assert verdict(read_run(run)) == "Nothing has been evaluated yet: the student has seen 20,000 images."
    assert verdict(read_run(empty_run)) == "Nothing has been trained or evaluated yet."
