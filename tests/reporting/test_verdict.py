import json
import math
import re

import pytest

from rsd_med.metrics.distances import FIGURES
from rsd_med.reporting.numbers import significant
from rsd_med.reporting.record import read_run
from rsd_med.reporting.report import render
from rsd_med.reporting.verdict import compare_models, verdict


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


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (1.2432, "closer to clean images than the teacher’s best sampler (heun): Fréchet distance 1.24 against 5.04"),
        (5.0, "about as close to clean images as the teacher’s best sampler"),
        (10.08, "stays farther from clean images than the teacher’s best sampler (heun): Fréchet distance 10.1"),
    ],
)
def test_the_sentence_follows_the_figures(run, replace_metrics, student, words):
    replace_metrics(run, lambda metrics: metrics["student"].update(fd=student))
    sentence = verdict(read_run(run))
    assert words in sentence
    assert sentence.endswith("33 × as fast.")
    assert len(re.findall(r"[.!?](?:\s|$)", sentence)) == 1


@pytest.mark.parametrize("fd", [0.44, 5.0])
def test_a_student_that_moved_away_from_the_measurements_is_not_praised(run, replace_metrics, fd):
    """A wrong corruption does this: the clean reference is corrupted wrongly, too, and seems to come closer."""
    replace_metrics(run, lambda metrics: metrics["student"].update(fd=fd, proximal_fd=25.0))
    sentence = verdict(read_run(run))
    assert "contradict each other" in sentence
    assert "(proximal Fréchet distance 25.0 against 1.31)" in sentence
    assert f"it has a Fréchet distance {significant(fd)} against" in sentence
    assert not re.search("closer|as close", sentence)
    assert len(re.findall(r"[.!?](?:\s|$)", sentence)) == 1
    assert "19 ×" in render(read_run(run))


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
    assert ("comes closer" in sentence) == praised
    assert ("only moved away" in sentence) != praised


def test_a_slower_student_is_called_slower(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics["student"].update(seconds_per_image=0.083))
    assert verdict(read_run(run)).endswith("(0.25 ×), and 2.0 × as slow.")


def test_without_a_reference_the_sentence_says_what_was_compared(run, replace_metrics):
    def forget(metrics):
        for figures in (metrics["student"], metrics["teacher"]["heun"]):
            for name in FIGURES:
                del figures[name]

    replace_metrics(run, forget)
    sentence = verdict(read_run(run))
    assert "closer to the measurements, once corrupted like them," in sentence
    assert "proximal Fréchet distance 0.644 against 1.31 (0.49 ×)" in sentence


def test_a_teacher_alone(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.pop("student"))
    assert verdict(read_run(run)) == (
        "The student has not been trained yet; the teacher’s best sampler is heun, at a Fréchet distance of 5.04."
    )


def test_a_run_that_was_not_evaluated_says_how_far_it_came(run, empty_run):
    run.metrics.unlink()
    assert verdict(read_run(run)) == "Nothing has been evaluated yet: the student has seen 20,000 images."
    assert verdict(read_run(empty_run)) == "Nothing has been trained or evaluated yet."
