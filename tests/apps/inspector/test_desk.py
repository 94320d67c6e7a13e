"""What is told of a job that goes on, and what a browser may not send."""

import asyncio
import time
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.compute.jobs import Job, JobQueue
from apps.inspector.page.desk import Desk, note, one_of, real, whole
from rsd_med.base.errors import DataError
from tests.apps.toy_worker import run_toy


def test_progress_and_the_time_left_are_told():
    desk = Desk(None, JobQueue(run_toy))
    job = Job("a", "sleep", {}, state="running", progress=0.25, started=time.monotonic() - 10)
    told = desk.tell(job, "Reconstructing <b>")
    assert "25%, about 30 s left" in told
    assert 'value="0.250"' in told
    assert "<b>" not in told
    job.progress = 0.01  # too early to guess
    assert "left" not in desk.tell(job, "Reconstructing")


def test_the_place_in_the_queue_is_told():
    queue = JobQueue(run_toy)  # not started: everything waits
    desk = Desk(None, queue)
    first, second = queue.submit("a", "add", a=1, b=1), queue.submit("b", "add", a=1, b=1)
    assert "waiting for 0 other requests" in desk.tell(first, "Drawing")
    assert "waiting for 1 other request." in desk.tell(second, "Drawing")


@pytest.mark.parametrize("value", [None, "x", "1; rm", 1.5, -1, 10**30, [], {"a": 1}, float("nan"), True + 100])
def test_what_is_no_number_of_the_kind_is_refused(value):
    with pytest.raises(DataError, match="whole number from 0 to 63"):
        whole(value, 0, 63, "The number")
    with pytest.raises(DataError, match="one of 16, 36"):
        one_of(value, (16, 36), "The count")
    if not isinstance(value, float | int) or not 0.5 <= value <= 1:
        with pytest.raises(DataError, match=r"number from 0\.5 to 1"):
            real(value, 0.5, 1.0, "ψ")


def test_a_sentence_shows_what_was_sent_as_text():
    assert "<script>" not in note("<script>alert(1)</script>", problem=True)


def test_cancelled_is_said_once_everything_has_stopped():
    queue = JobQueue(run_toy)
    queue.start()
    desk, session = Desk(None, queue), SimpleNamespace(name="a")
    try:
        assert asyncio.run(desk.cancel(session, "one")) == ""
        jobs = [queue.submit("a", "sleep", page="one", steps=3000), queue.submit("a", "add", page="other", a=1, b=1)]
        while jobs[0].state == "waiting":
            time.sleep(0.01)
        assert "Cancelled." in asyncio.run(desk.cancel(session, "one"))
        assert jobs[0].state == "cancelled"
        assert jobs[1].wait(30)  # of another page: it goes on
        assert jobs[1].result == 2
    finally:
        queue.close()
