"""Signals are noted, or end a block that has nothing to finish."""

import os
import signal

import pytest

from rsd_med.base.errors import InterruptedRunError
from rsd_med.training.signals import StopRequest


@pytest.mark.parametrize("number", StopRequest.SIGNALS)
def test_a_signal_is_noted_and_the_former_handler_comes_back(number):
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert stop.name is None
        os.kill(os.getpid(), number)
        assert stop.name == number.name
    assert signal.getsignal(number) is before


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
