"""A student distilled from the teacher of another run: the same student, and nothing that does not fit its teacher."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsd_med.base.errors import DataError, ProtocolError, RsdMedError
from rsd_med.runs.run_folder import RunFolder
from rsd_med.sample import main as sample
from rsd_med.train import main
from rsd_med.training.student_stage import StudentStage
from tests.test_training import PROTOCOL


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.yaml"
    path.write_text(PROTOCOL)
    return path


@pytest.fixture(scope="module")
def whole(protocol, tmp_path_factory):
    """A run of both stages."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([str(protocol), "--run-dir", str(folder), "--quiet"]) == 0
    return folder


def student(folder):
    checkpoint, _ = RunFolder(folder).checkpoints.newest("student")
    assert checkpoint is not None
    assert checkpoint.finished
    return load_file(checkpoint.folder / "student.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_student_is_that_of_a_run_of_both_stages_also_when_it_was_interrupted(
    protocol, whole, tmp_path, monkeypatch
):
    folder = tmp_path / "run"
    command = [str(protocol), "--run-dir", str(folder), "--teacher", str(whole), "--quiet"]
    step = StudentStage.step

    def stop_midway(self, batch, images, draws):
        if images == 24:
            raise KeyboardInterrupt
        return step(self, batch, images, draws)

    with monkeypatch.context() as patch:
        patch.setattr(StudentStage, "step", stop_midway)
        with pytest.raises(KeyboardInterrupt):
            main(command)
    assert main(command) == 0
    assert equal(student(folder), student(whole))

    recorded = json.loads((folder / "teacher.json").read_text())
    assert (folder / recorded["run"]).resolve() == whole.resolve()
    assert (recorded["images"], recorded["checkpoint"]) == (64, "0000000064")
    assert recorded["sha256"] in (folder / "report.html").read_text()
    assert recorded["sha256"] in (folder / "model_card.md").read_text()
    # The folder stands for itself.
    assert sample([str(folder), "--from", "teacher", "--steps", "2", "--num", "2", "--out", str(tmp_path / "out")]) == 0


def test_settings_of_students_may_differ_and_share_one_teacher(protocol, whole, tmp_path):
    students = []
    for rate in ("1e-3", "1e-4"):
        folder = tmp_path / rate
        changes = ["--set", f"student.generator.learning_rate={rate}", "--set", "student.images=8"]
        assert main([str(protocol), "--run-dir", str(folder), "--teacher", str(whole), "--quiet", *changes]) == 0
        students.append(student(folder))
    assert not equal(*students)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("seed=4", "seed"),
        ("data.num_images=39", "data.num_images"),
        ("data={kind: knee_phantom, num_images: 40, size: 20, coils: 2, supersample: 1}", "data.size"),
        ("calibration.noise=auto", "calibration.noise"),
        ("corruption.acceleration=2.5", "corruption.acceleration"),
        ("backbone.channels=[8, 16]", "backbone.channels"),
        ("diffusion.sigma_data=0.4", "diffusion.sigma_data"),
        ("teacher.objective={kind: creative}", "teacher.objective"),
    ],
)
def test_what_does_not_fit_the_teacher_is_named_and_leaves_no_folder(change, key, protocol, whole, tmp_path):
    folder = tmp_path / "run"
    command = [str(protocol), "--run-dir", str(folder), "--teacher", str(whole), "--quiet", "--set", change]
    for further in ([], ["--dry-run"]):
        with pytest.raises(RsdMedError, match=key):
            main([*command, *further])
        assert not folder.exists()


def test_what_is_no_finished_teacher_is_refused_and_leaves_no_folder(protocol, whole, tmp_path):
    folder, unfinished = tmp_path / "run", tmp_path / "unfinished"
    shutil.copytree(whole, unfinished)
    store = RunFolder(unfinished).checkpoints
    shutil.rmtree(store.folder / "0000000064")
    shutil.rmtree(store.folder / "0000000112")
    cases: list[tuple[list[str], type[RsdMedError], str]] = [
        (["--teacher", str(unfinished)], DataError, "finish it first|holds no teacher"),
        (["--teacher", str(tmp_path / "nowhere")], DataError, "is no run folder"),
        (["--teacher", str(whole), "--stage", "teacher"], ProtocolError, "leave out --stage teacher"),
        (["--stage", "student"], DataError, "--teacher RUN"),
        (["--resume", str(whole)], ProtocolError, "this is a run folder"),
        (["--resume", str(whole / "checkpoints")], DataError, "no readable manifest"),
        (["--resume", str(tmp_path / "nowhere")], ProtocolError, "there is no such folder"),
        (["--resume", str(whole / "checkpoints" / "0000000112")], DataError, "--teacher RUN"),
    ]
    for arguments, kind, sentence in cases:
        with pytest.raises(kind, match=sentence):
            main([str(protocol), "--run-dir", str(folder), "--quiet", *arguments])
        assert not folder.exists(), arguments


def test_a_run_keeps_the_teacher_it_was_begun_with(protocol, whole, tmp_path):
    with pytest.raises(ProtocolError, match="a teacher of its own"):
        main([str(protocol), "--run-dir", str(whole), "--teacher", str(whole), "--quiet"])
    folder = tmp_path / "run"
    command = [str(protocol), "--run-dir", str(folder), "--quiet", "--set", "student.images=8"]
    assert main([*command, "--teacher", str(whole)]) == 0
    recorded = json.loads((folder / "teacher.json").read_text())
    (folder / "teacher.json").write_text(json.dumps(recorded | {"sha256": "another"}))
    with pytest.raises(ProtocolError, match="begun with another teacher"):
        main([*command, "--teacher", str(whole)])
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(ProtocolError, match="give it again"):
        main(command)


def test_a_protocol_may_come_from_a_pipe(protocol, whole, tmp_path):
    """As of a shell's ``<(…)``: it can be read once, and what it held is kept."""
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: Path(pipe).write_text(PROTOCOL))
    writer.start()
    folder = tmp_path / "run"
    changes = ["--set", "student.images=8"]
    assert main([str(pipe), "--run-dir", str(folder), "--teacher", str(whole), "--quiet", *changes]) == 0
    writer.join()
    assert (folder / "protocol.yaml").read_text() == PROTOCOL
