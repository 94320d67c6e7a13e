"""The folder of a run: whole files, lines that survive a crash, and nothing private."""

import json
import os
import socket
from pathlib import Path

import pytest

from rsd_med.runs.run_folder import describe_environment
from tests.training.toys import run_folder


def lines(*entries):
    return [{"stage": stage, "images": images, "seconds": 2.0} for stage, images in entries]


@pytest.fixture
def run(tmp_path):
    run = run_folder(tmp_path)
    run.create("seed: 3\n", "seed: 3 # all\n", 3, tmp_path / "protocols")
    return run


def test_a_run_begins_with_its_protocol_and_surroundings(run, tmp_path):
    assert run.protocol.read_text() == "seed: 3\n"
    assert run.protocol_resolved.read_text() == "seed: 3 # all\n"
    known = json.loads(run.environment.read_text())
    assert known["seed"] == 3
    assert known["protocol_folder"] == os.path.join("..", "protocols")
    assert run.read_base_dir() == (tmp_path / "protocols").resolve()


def test_the_surroundings_name_no_person_host_or_folder():
    text = json.dumps(describe_environment())
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert os.getcwd() not in text
    assert "torch" in json.loads(text)["packages"]


def test_a_line_cut_short_by_a_crash_is_left_out(run):
    for line in lines(("teacher", 16), ("teacher", 32)):
        run.append_metrics(line)
    with run.metrics_lines.open("a") as file:
        file.write('{"stage": "teacher", "ima')
    assert [line["images"] for line in run.read_metrics_lines()] == [16, 32]


def test_a_resumed_run_forgets_what_it_will_log_again(run):
    for line in lines(("teacher", 16), ("teacher", 32), ("student", 16), ("student", 32), ("student", 48)):
        run.append_metrics(line)
    stages = ("teacher", "student", "reconstructor")
    run.forget_metrics_after("student", 32, stages)
    assert [(line["stage"], line["images"]) for line in run.read_metrics_lines()] == [
        ("teacher", 16), ("teacher", 32), ("student", 16), ("student", 32)
    ]  # fmt: skip
    assert run.read_seconds() == {"teacher": 4.0, "student": 4.0}
    run.forget_metrics_after("teacher", 16, stages)
    assert [(line["stage"], line["images"]) for line in run.read_metrics_lines()] == [("teacher", 16)]


def test_status_is_replaced_as_a_whole(run):
    run.set_status("running", command="a")
    run.set_status("done", seconds=3.0)
    assert json.loads((run.path / "status.json").read_text()) == {"state": "done", "seconds": 3.0}
