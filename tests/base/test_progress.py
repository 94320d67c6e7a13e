"""What a person who waits is told, and when."""

import time

import pytest

from rsd_med.base.progress import doing, telling, watched


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def work(clock, items, seconds):
    done = []
    for item in watched(items, "drawing"):
        clock[0] += seconds
        done.append(item)
    return done


def test_short_work_says_nothing_and_long_work_says_how_long(clock):
    sentences = []
    with telling(sentences.append):
        assert work(clock, range(50), 0.09) == list(range(50))
        assert sentences == []
        with doing("student"):
            assert work(clock, range(8), 4.0) == list(range(8))
    # The first word after more than five seconds, the next ones ten seconds apart, none at the end.
    assert sentences == ["student: drawing: 2 of 8, 24 s left", "student: drawing: 5 of 8, 12 s left"]


def test_without_a_listener_nothing_is_said(clock, capsys):
    assert work(clock, [1, 2, 3], 60.0) == [1, 2, 3]
    with telling(None), doing("teacher"):
        work(clock, [1, 2, 3], 60.0)
    assert capsys.readouterr() == ("", "")
