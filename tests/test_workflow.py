"""Between the stages: where the student's checkpoints begin."""

from types import SimpleNamespace

import pytest

from rsd_med import workflow
from rsd_med.base.errors import DataError


def experiment(images):
    """An experiment whose teacher was asked for so many images."""
    teacher = SimpleNamespace(images=images)
    return SimpleNamespace(
        protocol=SimpleNamespace(teacher=teacher), load_network=lambda *_: "weights", student_stage=lambda _: "stage"
    )


def test_the_students_checkpoints_begin_where_the_teachers_end(monkeypatch):
    """A last batch goes past the images asked for; counted from those, an early stop of the student would be saved in
    the very place of the finished teacher.
    """
    driven = []
    monkeypatch.setattr(workflow, "newest_checkpoint", lambda *_: SimpleNamespace(finished=True, images=24))
    loop = SimpleNamespace(drive=lambda *given: driven.append(given))
    workflow._train_student(experiment(images=20), SimpleNamespace(), SimpleNamespace(), loop, None)
    assert driven == [("stage", 24, None)]


def test_a_student_needs_a_finished_teacher(monkeypatch):
    monkeypatch.setattr(workflow, "newest_checkpoint", lambda *_: SimpleNamespace(finished=False, images=8))
    with pytest.raises(DataError, match="finish it first"):
        workflow._train_student(
            experiment(images=20), SimpleNamespace(path=SimpleNamespace(name="run")), SimpleNamespace(), None, None
        )  # fmt: skip
