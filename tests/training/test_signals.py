"""Signals are noted, or end a block that has nothing to finish."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest

from rsd_med.base.errors import InterruptedRunError
from rsd_med.training.signals import StopRequest


@pytest.mark.parametrize("number", StopRequest.SIGNALS)
def test_a_signal_is_noted_and_the_former_handler_comes_back(number):
    before = signal.getsignal(number)
    try:
        with StopRequest() as stop:
            assert stop.name is None
            os.kill(os.getpid(), number)
            assert stop.name == number.name
        # A terminal that has gone is told of twice, by shell and kernel: the second time must not kill what ends.
        assert signal.getsignal(number) is (signal.SIG_IGN if number == signal.SIGHUP else before)
    finally:
        signal.signal(number, before)


def test_a_second_ctrl_c_interrupts_at_once():
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("when", ["before", "within"])
def test_a_block_without_steps_is_left_at_once(when):
    reached = []

    def work(stop):
        with stop.at_once():
            reached.append("in")
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append("past")

    with StopRequest() as stop:
        if when == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(InterruptedRunError, match="SIGTERM"):
            work(stop)
    assert reached == ([] if when == "before" else ["in"])
    with StopRequest() as stop:
        with stop.at_once():
            pass
        os.kill(os.getpid(), signal.SIGUSR1)  # outside the block: noted again
        assert stop.name == "SIGUSR1"


def test_what_is_ignored_stays_ignored():
    """As under nohup, which keeps a run going when its terminal closes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.name is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_terminal_that_closes_is_a_request_to_stop(tmp_path):
    """What is said afterwards goes nowhere, and is no error."""
    program = (
        "import signal, sys, time\n"
        "from rsd_med.training.signals import StopRequest\n"
        "with StopRequest() as stop:\n"
        "    print('ready', flush=True)\n"
        "    while stop.name is None: time.sleep(0.01)\n"
        "    print('saving', flush=True); print('saving', file=sys.stderr, flush=True)\n"
        "    open('saved', 'w').write(stop.name)\n"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),  # so that the kernel says when it has gone
    )  # fmt: skip
    os.close(slave)
    while b"ready" not in os.read(master, 1000):
        pass
    os.close(master)
    process.send_signal(signal.SIGHUP)  # which a shell does for its jobs, once more
    assert process.wait(60) == 0
    assert (tmp_path / "saved").read_text() == "SIGHUP"
