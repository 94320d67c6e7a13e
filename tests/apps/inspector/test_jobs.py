"""The queue with a worker of toys: turns, cancelling, dying."""

import os
import signal
import time

import pytest

from apps.inspector.compute import jobs
from apps.inspector.compute.jobs import DIED, MOST_WAITING, JobQueue
from rsd_med.base.errors import DataError
from tests.apps.toy_worker import run_toy


@pytest.fixture(scope="module")
def queue():
    found = JobQueue(run_toy)
    found.start()
    yield found
    found.close()


def done(job, seconds=60):
    assert job.wait(seconds), "the job did not end"
    return job


def test_results_go_to_whoever_asked(queue):
    asked = [queue.submit(f"user {k % 5}", "add", a=k, b=1000) for k in range(30)]
    assert [done(job).result for job in asked] == [k + 1000 for k in range(30)]
    assert len(done(queue.submit("a", "large")).result) == 8 << 20


def test_users_take_turns_however_much_one_asks_for(queue):
    order = []
    first = queue.submit("greedy", "sleep", steps=10)
    while first.state == "waiting":
        time.sleep(0.005)
    jobs_of = {name: [queue.submit(name, "sleep", steps=1) for _ in range(3)] for name in ("greedy", "b", "c")}
    assert queue.ahead_of(jobs_of["greedy"][0]) == 1
    assert queue.ahead_of(jobs_of["greedy"][1]) == 4
    assert queue.ahead_of(jobs_of["c"][0]) == 3
    every = [job for own in jobs_of.values() for job in own]
    for job in every:
        done(job)
    order = [job.owner for job in sorted(every, key=lambda job: job.started)]
    assert order == ["greedy", "b", "c"] * 3


def test_nobody_fills_the_queue(queue):
    running = queue.submit("busy", "sleep", steps=50)
    while running.state == "waiting":
        time.sleep(0.005)
    for _ in range(MOST_WAITING):
        queue.submit("busy", "sleep", steps=50)
    with pytest.raises(DataError, match="waiting already"):
        queue.submit("busy", "add", a=1, b=1)
    assert not queue.submit("other", "add", a=1, b=1).over
    queue.cancel_all("busy")
    assert done(running).state == "cancelled"


def test_cancelling_frees_the_worker_without_a_new_one(queue):
    before = done(queue.submit("a", "sleep", steps=1)).result
    job = queue.submit("a", "sleep", steps=3000)
    while job.progress == 0:
        time.sleep(0.01)
    assert job.seconds_left is None or job.seconds_left > 0
    queue.cancel(job)
    assert done(job).state == "cancelled"
    assert done(queue.submit("a", "sleep", steps=1)).result == before


def test_what_does_not_stop_is_stopped_with_its_process(queue, monkeypatch):
    monkeypatch.setattr(jobs, "GRACE_SECONDS", 0.2)
    job = queue.submit("a", "stubborn")
    while job.state == "waiting":
        time.sleep(0.01)
    queue.cancel(job)
    assert done(job).state == "cancelled"
    assert done(queue.submit("b", "add", a=1, b=2)).result == 3


def test_a_worker_killed_in_the_middle_costs_one_job_and_says_so(queue):
    job = queue.submit("a", "sleep", steps=3000)
    while job.progress == 0:
        time.sleep(0.01)
    waiting = queue.submit("b", "add", a=2, b=3)
    os.kill(queue.worker_pid, signal.SIGKILL)
    assert done(job).state == "failed"
    assert job.error == DIED
    assert done(waiting).result == 5
    assert done(queue.submit("a", "die")).error == DIED
    assert done(queue.submit("a", "add", a=1, b=1)).result == 2


def test_a_defect_is_told_without_what_it_quotes(queue):
    job = done(queue.submit("a", "fail"))
    assert job.state == "failed"
    assert "ValueError" in job.error
    assert "secret" not in job.error
    assert "KeyError" in done(queue.submit("a", "no such task")).error


def test_a_closed_queue_ends_everything():
    own = JobQueue(run_toy)
    own.start()
    pid = own.worker_pid
    job, later = own.submit("a", "sleep", steps=3000), own.submit("a", "add", a=1, b=1)
    own.close()
    assert done(job).state == "cancelled"
    assert done(later).state == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(DataError, match="stopped"):
        own.submit("a", "add", a=1, b=1)
