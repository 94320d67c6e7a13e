"""A teacher of completed scans: the reconstructor comes first, and what it makes of the scans is what is learned."""

import hashlib
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.completion import CompletedScans, complete, completed_like
from rsd_med.inverse.reconstructor import ReconstructorSettings
from rsd_med.opened_run import open_run
from rsd_med.reconstruction import PriorRun
from rsd_med.runs.distribution import ALONE, Distribution
from rsd_med.runs.run_folder import RunFolder
from rsd_med.train import main
from rsd_med.training.teacher_stage import TeacherStage
from tests.test_training import PROTOCOL
from tests.training.toys import generator

OWN = PROTOCOL.replace("{kind: ambient_fourier}", "{kind: completed}") + (
    "reconstructor: {images: 16, batch_size: 8, start: fresh, turns: 2, least_central: 2, evaluate_samples: 8}\n"
)


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.yaml"
    path.write_text(OWN)
    return path


@pytest.fixture(scope="module")
def whole(protocol, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([str(protocol), "--run-dir", str(folder), "--quiet", "--set", "student.further_levels=[0.2]"]) == 0
    return folder


def weights(folder, stage):
    checkpoint, _ = RunFolder(folder).checkpoints.newest(stage)
    assert checkpoint is not None
    assert checkpoint.finished
    return load_file(checkpoint.folder / f"{stage}.safetensors")


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_reconstructor_comes_first_and_the_student_last(whole):
    store = RunFolder(whole).checkpoints
    names = {stage: int(store.newest(stage)[0].folder.name) for stage in ("reconstructor", "teacher", "student")}
    assert names == {"reconstructor": 16, "teacher": 16 + 64, "student": 16 + 64 + 48}
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["student"]["network_calls"] == 2
    assert {"reconstructor", "teacher", "student"} <= metrics["seconds"].keys()
    report = (whole / "report.html").read_text()
    assert "Reconstructor" in report
    assert (whole / "model_card.md").read_text().count("Training images seen") == 3


def test_what_is_learned_from_is_what_reconstruct_gives(whole):
    """In the order of the measurements, and without noise: the mean of a pair of draws is the estimate itself."""
    experiment = open_run(RunFolder(whole))
    solver = ReconstructorSettings(samples=2, hidings=0).build(PriorRun(whole, "cpu").network("reconstructor"))
    for index in (0, 7, 39):
        result = solver(experiment.dataset[index], generator(1))
        example = experiment.examples[index]
        torch.testing.assert_close(example.data[0], result.samples.mean(0), atol=1e-4, rtol=1e-3)
        assert example.ids == experiment.dataset[index].ids
        assert float(example.sigma) == 0
    assert len(experiment.examples) == 40
    # The networks that learn from them are shown everything, and nothing is hidden from them.
    assert experiment.objective.context_channels == 0
    assert experiment.build_denoiser().hidden_std == 0 < experiment.hidden_std


def test_a_stopped_run_goes_on_and_ends_alike(protocol, whole, tmp_path, monkeypatch):
    command = [str(protocol), "--run-dir", str(tmp_path / "run"), "--quiet", "--set", "student.further_levels=[0.2]"]
    step = TeacherStage.step

    def stop_midway(self, batch, images, draws):
        if images == 32:
            raise KeyboardInterrupt
        return step(self, batch, images, draws)

    with monkeypatch.context() as patch:
        patch.setattr(TeacherStage, "step", stop_midway)
        with pytest.raises(KeyboardInterrupt):
            main(command)
    assert main(command) == 0
    for stage in ("reconstructor", "teacher", "student"):
        assert equal(weights(tmp_path / "run", stage), weights(whole, stage))


def test_a_stage_waits_for_those_before(protocol, tmp_path):
    command = [str(protocol), "--run-dir", str(tmp_path / "run"), "--quiet", "--stage"]
    for stage in ("teacher", "student"):
        with pytest.raises(DataError, match=r"holds no (reconstructor|teacher) checkpoint"):
            main([*command, stage])
        assert not (tmp_path / "run").exists()
    assert main([*command, "reconstructor"]) == 0
    assert main([*command, "teacher"]) == 0
    assert RunFolder(tmp_path / "run").checkpoints.newest("teacher")[0].images == 64


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("reconstructor=null", "add a section reconstructor"),
        ("reconstructor.start=teacher", "start: fresh"),
        ("corruption={kind: noise, sigma: 0.1}", "completed learns from undersampled k-space"),
        ("teacher.objective.reconstructor=nowhere", "nowhere holds no reconstructor checkpoint"),
    ],
)
def test_what_cannot_be_completed_is_refused_before_a_folder_is_made(protocol, tmp_path, override, sentence):
    with pytest.raises((ProtocolError, DataError), match=sentence):
        main([str(protocol), "--run-dir", str(tmp_path / "run"), "--set", override])
    assert not (tmp_path / "run").exists()


def test_another_runs_reconstructor_may_complete_them_and_mirrors_double_them(protocol, whole, tmp_path):
    folder = tmp_path / "run"
    asked = [f"teacher.objective.reconstructor={whole}", "teacher.objective.mirror=true", "reconstructor=null"]
    sets = [word for one in asked for word in ("--set", one)]
    assert main([str(protocol), "--run-dir", str(folder), "--quiet", "--stage", "teacher", *sets]) == 0
    examples, first = open_run(RunFolder(folder)).examples, open_run(RunFolder(whole)).examples
    assert len(examples) == 2 * len(first) == 80
    assert torch.equal(examples[3].data, first[3].data)
    assert torch.equal(examples[43].data, first[3].data.flip(-1))
    assert examples[43].ids != examples[3].ids
    # Its own teacher comes first again, and no reconstructor is there.
    store = RunFolder(folder).checkpoints
    assert int(store.newest("teacher")[0].folder.name) == 64
    assert store.newest("reconstructor")[0] is None
    # A student of it is distilled elsewhere, from the same examples.
    other = tmp_path / "other"
    assert main([str(protocol), "--run-dir", str(other), "--quiet", "--teacher", str(folder), *sets]) == 0
    assert equal(weights(other, "teacher"), weights(folder, "teacher"))


def test_a_student_of_a_given_teacher_brings_its_reconstructor(protocol, whole, tmp_path):
    command = [str(protocol), "--run-dir", str(tmp_path / "run"), "--quiet", "--teacher", str(whole)]
    assert main([*command, "--set", "student.further_levels=[0.2]"]) == 0
    for stage in ("reconstructor", "teacher", "student"):
        assert equal(weights(tmp_path / "run", stage), weights(whole, stage))


def test_completed_scans_belong_to_a_reconstructor_and_to_the_data(whole, tmp_path):
    experiment = open_run(RunFolder(whole))
    checkpoint, _ = RunFolder(whole).checkpoints.newest("reconstructor")
    network = experiment.load_reconstructor(checkpoint).settled()
    folder = tmp_path / "completed"
    complete(network, experiment.dataset, folder, ALONE, "one")
    before = (folder / "0.npy").stat().st_mtime_ns
    complete(network, experiment.dataset, folder, ALONE, "one")
    assert (folder / "0.npy").stat().st_mtime_ns == before
    complete(network, experiment.dataset, folder, ALONE, "another")
    assert (folder / "0.npy").stat().st_mtime_ns > before
    (folder / "0.npy").write_bytes((folder / "0.npy").read_bytes()[:-8])
    complete(network, experiment.dataset, folder, ALONE, "another")
    assert np.load(folder / "0.npy").shape == (40, 16, 16)
    (folder / "0.npy").unlink()
    with pytest.raises(DataError, match="missing or damaged"):
        CompletedScans(folder, [str(number) for number in range(40)])[0]
    complete(network, experiment.dataset, folder, ALONE, "another")
    with pytest.raises(DataError, match="40 completed scans, and there are 3"):
        CompletedScans(folder, ["a", "b", "c"])
    (folder / "facts.json").write_text("{")
    with pytest.raises(DataError, match="missing or damaged"):
        CompletedScans(folder, [str(number) for number in range(40)])


def test_a_reconstructor_that_has_changed_is_no_basis_to_go_on_from(protocol, whole, tmp_path):
    folder, named = tmp_path / "run", tmp_path / "named"
    shutil.copytree(whole, named)
    sets = ["--set", f"teacher.objective.reconstructor={named}", "--set", "reconstructor=null"]
    command = [str(protocol), "--run-dir", str(folder), "--quiet", *sets]
    assert main([*command, "--stage", "teacher"]) == 0
    checkpoint = RunFolder(named).checkpoints.newest("reconstructor")[0].folder
    manifest, weights_file = checkpoint / "manifest.json", checkpoint / "reconstructor.safetensors"
    save_file({name: 2 * w for name, w in load_file(weights_file).items()}, weights_file)
    facts = json.loads(manifest.read_text())
    facts.pop("seal")
    facts["files"][weights_file.name] = {
        "bytes": weights_file.stat().st_size, "sha256": hashlib.sha256(weights_file.read_bytes()).hexdigest()
    }  # fmt: skip
    manifest.write_text(json.dumps(facts))
    with pytest.raises(DataError, match="has changed since the teacher learned"):
        main([*command, "--stage", "student"])


def test_a_checkpoint_of_a_stage_that_is_not_trained_is_refused(protocol, whole, tmp_path):
    path = tmp_path / "other.yaml"
    path.write_text(PROTOCOL)
    checkpoint = RunFolder(whole).checkpoints.newest("reconstructor")[0].folder
    with pytest.raises(ProtocolError, match="a checkpoint of a reconstructor, and this protocol trains none"):
        main([str(path), "--run-dir", str(tmp_path / "run"), "--resume", str(checkpoint)])
    assert not (tmp_path / "run").exists()


class OneOfTwo(Distribution):
    """Two ranks in two threads, which tell one another what they have."""

    world_size = 2
    told: dict[int, list] = {}
    barrier = threading.Barrier(2, timeout=60)

    def __init__(self, rank):
        self.rank = rank

    def _told(self, value):
        self.told[self.rank] = value
        self.barrier.wait()
        both = [self.told[0], self.told[1]]
        self.barrier.wait()
        return both

    def agree(self, number):
        return max(self._told(number))

    def wait(self):
        self.agree(0)

    def gather(self, tensors):
        one, other = self._told(list(tensors))
        dealt = [pair for turn in range(len(one)) for pair in (one[turn : turn + 1], other[turn : turn + 1])]
        return [tensor for part in dealt for tensor in part]


def test_two_ranks_complete_them_together(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("rsd_med.completion.BATCH", 8)
    experiment = open_run(RunFolder(whole))
    checkpoint, _ = RunFolder(whole).checkpoints.newest("reconstructor")
    network = experiment.load_reconstructor(checkpoint).settled()

    def work(rank):
        complete(network, experiment.dataset, tmp_path / "completed", OneOfTwo(rank), "seal")

    other = threading.Thread(target=work, args=(1,))
    other.start()
    work(0)
    other.join()
    alone, together = (np.load(Path(folder) / "completed" / "0.npy") for folder in (whole, tmp_path))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_trial_step_sees_zero_filled_images_as_complete(whole):
    measurement = open_run(RunFolder(whole)).dataset[0]
    like = completed_like(measurement)
    assert torch.equal(like.data, measurement.image())
    assert torch.equal(like.image(), like.data)
