"""Two ranks do what one process does: the same draws, the same weights, one voice."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rsd_med.base.errors import ProtocolError
from rsd_med.runs.distribution import ALONE, Distribution, connect
from rsd_med.runs.run_folder import RunFolder
from tests.training.test_teacher_stage import equal

from .ranks_program import findings

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="torch is built without distribution")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where two ranks left what they found."""
    folder = tmp_path_factory.mktemp("ranks")
    program = Path(__file__).with_name("ranks_program.py")
    done = subprocess.run(
        [*TORCHRUN, str(program), str(folder)],
        env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone():
    torch.set_num_threads(1)
    return findings(ALONE)


def test_an_item_travels_from_its_owner_to_whoever_asks(ranks, alone):
    for position in (0, 1):
        assert torch.equal(torch.cat([rank["picked"][position] for rank in ranks]), alone["picked"][position])
    assert torch.equal(torch.cat([rank["composed"] for rank in ranks]), alone["composed"])


def test_what_was_dealt_in_turn_is_gathered_in_order(ranks):
    for rank in ranks:
        assert [int(tensor) for tensor in rank["gathered"]] == [0, 1, 2]
        assert rank["texts"] == ["rank 0", "rank 1"]
        assert rank["agreed"] == 10


def test_samples_and_distances_do_not_depend_on_the_ranks(ranks, alone):
    for rank in ranks:
        assert torch.equal(rank["evaluation"][1], alone["evaluation"][1])
        assert rank["evaluation"][2] == pytest.approx(alone["evaluation"][2], rel=1e-9)


@pytest.mark.parametrize("stage", ["teacher", "student", "spoilt"])
def test_both_ranks_hold_the_same_weights_and_tell_the_same(ranks, stage):
    assert equal(ranks[0][stage][0], ranks[1][stage][0])
    assert repr(ranks[0][stage][1]) == repr(ranks[1][stage][1])  # nan is not equal to nan


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_two_ranks_learn_what_one_learns(ranks, alone, stage):
    for name, expected in alone[stage][0].items():
        for key, tensor in expected.items():
            torch.testing.assert_close(ranks[0][stage][0][name][key], tensor, rtol=1e-3, atol=2e-5)
    for here, there in zip(ranks[0][stage][1], alone[stage][1], strict=True):
        assert here == pytest.approx(there, rel=1e-3)


def test_a_gradient_that_is_not_finite_on_one_rank_is_skipped_by_both(ranks):
    for rank in ranks:
        assert [told["skipped"] for told in rank["spoilt"][1]] == [0, 1, 0]
    assert ranks[0]["spoilt"][2] == []
    assert ranks[1]["spoilt"][2] == ["picture 4"]
    weights = [rank["spoilt"][0]["teacher"] for rank in ranks]
    assert all(tensor.isfinite().all() for tensor in weights[0].values())


def test_gradients_that_travel_during_the_backward_pass_are_the_same(ranks):
    for rank in ranks:
        (teacher, student, *_), sent, gradients = rank["overlapping"]
        assert equal(teacher[0], rank["teacher"][0])  # to the bit: a sum of two has one order
        assert equal(student[0], rank["student"][0])
        assert [step["loss"] for step in student[1]] == [step["loss"] for step in rank["student"][1]]
        assert len(sent) > 3
        assert any(sent)  # some left while others were not yet whole
        # By hand, for layers of 0.1: inputs of 1 and 2 become 0.5 and 0.9, then 0.3 and 0.46.
        weights = [gradient[0, 0].item() for gradient in gradients[::2]]
        assert weights == pytest.approx([0.16 * 1.5, 0.4 * 0.7, 0.38])


@pytest.mark.parametrize(("stage", "place"), [("teacher", 2), ("student", 3)])
def test_out_of_memory_on_one_rank_both_take_smaller_passes_with_the_same_result(ranks, stage, place):
    squeezed = [rank["overlapping"][0][place] for rank in ranks]
    assert [micro_batch for *_, micro_batch in squeezed] == [2, 2]  # of a share of 4
    assert equal(squeezed[0][0], squeezed[1][0])
    for rank, (weights, told, *_) in zip(ranks, squeezed, strict=True):
        for name, expected in rank[stage][0].items():
            for key, tensor in expected.items():
                torch.testing.assert_close(weights[name][key], tensor, rtol=1e-3, atol=2e-5)
        for here, there in zip(told, rank[stage][1], strict=True):
            assert here == pytest.approx(there, rel=1e-3)


def test_an_error_of_one_rank_is_told_once_and_ends_both(folder):
    assert (folder / "told").read_text() == "1: only rank 1 knows"
    assert (folder / "left").read_text() == "0: 3"


def test_a_rank_that_dies_is_noticed(folder):
    told = (folder / "bereft").read_text()
    assert told.startswith("InterruptedRunError: rank 0 of 2: another process of this run has ended")
    assert "run the same command again" in told


def test_a_batch_is_shared_evenly_or_not_at_all():
    class Three(Distribution):
        rank, world_size = 1, 3

    assert Three().share(list(range(6))) == [2, 3]
    assert Three().deal(range(8)) == range(1, 8, 3)
    with pytest.raises(ProtocolError, match="32 images cannot be shared evenly among 3 processes"):
        Three().share(list(range(32)))


def test_without_torchrun_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert connect() is ALONE


@pytest.fixture
def rank_3(monkeypatch):
    """Rank 3 of 4, all alone: what it would ask of torch.distributed is noted; on a machine that shows it one GPU."""
    asked = {}
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: asked.update({"tensors": k}))
    monkeypatch.setattr(torch.distributed, "new_group", lambda **k: asked.update({"words": k}))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    return connect(), asked


def test_tensors_are_waited_for_in_minutes_and_words_in_hours(rank_3):
    """A machine that dies leaves the others inside NCCL's kernels; lone work is waited for between CPUs."""
    _, asked = rank_3
    assert asked["tensors"]["timeout"] <= timedelta(minutes=30)
    assert asked["words"] == {"backend": "gloo", "timeout": timedelta(hours=2)}


def test_a_task_that_sees_one_gpu_takes_it_but_ranks_of_one_torchrun_do_not_share_it(rank_3, monkeypatch):
    ranks, _ = rank_3
    assert ranks.device("cuda") == torch.device("cuda", 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with pytest.raises(ProtocolError, match="this machine has 1 GPUs, and rank 3 needs one"):
        ranks.device("cuda")


def test_a_run_passes_from_two_ranks_to_one(tmp_path):
    """SIGTERM reaches one rank alone: both stop after the same step. One process finishes what two began."""
    from tests.test_training import PROTOCOL

    protocol, folder = tmp_path / "tiny.yaml", tmp_path / "run"
    protocol.write_text(PROTOCOL)
    arguments = ["-m", "rsd_med.train", str(protocol), "--run-dir", str(folder), "--quiet"]
    arguments += ["--set", "teacher.images=16000", "--set", "student.images=16", "--set", "diffusion.precision=float32"]
    process = subprocess.Popen(
        [*TORCHRUN, *arguments], env=ENVIRONMENT, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    store = RunFolder(folder).checkpoints
    deadline = time.monotonic() + 90
    while store.newest()[0] is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[1]), signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    assert "SIGTERM" in errors
    assert errors.count("run the same command again to go on") == 1
    assert '"state": "interrupted"' in (folder / "status.json").read_text()
    stopped, _ = store.newest()
    assert stopped is not None
    assert not stopped.finished
    assert all(tensor.isfinite().all() for tensor in load_file(stopped.folder / "teacher.safetensors").values())
    lines = RunFolder(folder).read_metrics_lines()
    assert len({line["images"] for line in lines}) == len(lines)  # rank 0 alone has written
    from rsd_med.experiment import Experiment
    from rsd_med.protocol import load_protocol
    from rsd_med.runs.checkpoints import verify
    from rsd_med.training.loop import resume

    experiment = Experiment(load_protocol(folder / "protocol.resolved.yaml"), tmp_path)
    assert resume(experiment.teacher_stage(), verify(stopped.folder)) == stopped.images
