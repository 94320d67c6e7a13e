"""The command line: what cannot be served is refused in one sentence, before anything listens."""

import socket

import pytest

pytest.importorskip("uvicorn", reason="The app's packages are not installed: pip install '.[app]'.")

from apps.inspector.__main__ import main
from rsd_med.base.command import run_command


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "protocol.resolved.yaml").write_text("name: stub\n")
    return str(folder)


def refuse(capsys, *arguments):
    code = run_command(lambda: main(list(arguments)))
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return code, said


def test_beyond_this_machine_logins_are_required(capsys, run):
    code, said = refuse(capsys, run, "--host", "0.0.0.0", "--port", "39517")
    assert code == 2
    assert "logins" in said


def test_what_is_no_run_or_no_port_is_refused(capsys, run, tmp_path):
    assert refuse(capsys, str(tmp_path))[0] == 3
    assert refuse(capsys, run, "--compare", str(tmp_path))[0] == 3
    assert refuse(capsys, run, "--port", "0")[0] == 2
    assert refuse(capsys, run, "--key", "x")[0] == 2
    assert refuse(capsys, run, "--users", str(tmp_path / "none"), "--port", "39518")[0] == 3


def test_a_port_that_is_taken_is_named(capsys, run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, said = refuse(capsys, run, "--port", port)
    assert code == 2
    assert port in said
