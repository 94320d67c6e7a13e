"""The command: what it refuses before it listens, that it serves, tells that it does, and ends when it is told to."""

import signal
import socket
import time
from threading import Thread

import pytest

from rsd_med import serve
from rsd_med.base.command import run_command

from . import client


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def call(*words: object) -> int:
    return run_command(lambda: serve.main([str(word) for word in words]))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(small, capsys, monkeypatch, number):
    handlers, codes, port = {}, [], free_port()

    def record(number, handler):  # of the server alone: any command listens for these signals while it runs
        if getattr(handler, "__module__", None) == serve.__name__:
            handlers[number] = handler

    monkeypatch.setattr(serve.signal, "signal", record)
    assert call("--check", "--port", port) == 3
    assert f"No server answers at 127.0.0.1:{port}" in capsys.readouterr().err
    thread = Thread(target=lambda: codes.append(call("--port", port, "--method", "zero_filled", "--idle", 5)))
    thread.start()
    until = time.monotonic() + 60
    while call("--check", "--port", port) != 0:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(client.ask(("127.0.0.1", port), client.measurement(small)).images) == 1
    assert call("--port", port) == 2
    assert "cannot listen there" in capsys.readouterr().err
    handlers[number]()
    thread.join(30)
    assert codes == [0]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--port", 70000], 2, "--port must be from 0 to 65535"),
        (["--connections", 0], 2, "--connections must be from 1"),
        (["--memory", "nan"], 2, "--memory must be from"),
        (["--configs", "nowhere"], 2, "--configs nowhere: there is no such folder"),
        (["--method", "a_dps"], 2, "--method a_dps needs a prior"),
        (["--set", "steps=3", "--method", "zero_filled"], 2, "--set steps"),
        (["nowhere"], 3, "is no run folder"),
        (["--coils", "5000"], 2, "coils: must be at most 1000"),
    ],
)
def test_what_is_wrong_is_said_before_it_listens(capsys, monkeypatch, words, code, sentence):
    monkeypatch.setattr(serve, "_listening", lambda *_: pytest.fail("it listens"))
    assert call(*words) == code
    assert sentence in capsys.readouterr().err
