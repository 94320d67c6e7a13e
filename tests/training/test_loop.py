"""The loop: counted in images, seeded by them, and how it ends early."""

import errno
import os
import signal
import threading

import pytest
import torch

from rsd_med.base.errors import DivergedError, InterruptedRunError
from rsd_med.base.randomness import derive_seed
from rsd_med.runs.checkpoints import verify
from rsd_med.training.loop import PATIENCE, Loop, crossed
from rsd_med.training.settings import EngineSettings
from rsd_med.training.signals import StopRequest
from tests.training.toys import CountingStage, Kept, QuietJournal, pictures, run_folder


class Stop:
    """A stop request that comes at the n-th time of asking."""

    def __init__(self, at=None):
        self.asked, self.at = 0, at

    @property
    def name(self):
        self.asked += 1
        return "SIGTERM" if self.at is not None and self.asked >= self.at else None


def loop(tmp_path, stop=None, log_every=20, checkpoint_every=30, count=8):
    run_logger, evaluated = QuietJournal(), []
    made = Loop(
        Kept(pictures(count)),
        EngineSettings(log_every=log_every, checkpoint_every=checkpoint_every, keep_checkpoints=100),
        run_folder(tmp_path, keep=100),
        run_logger,
        seed=5,
        device=torch.device("cpu"),
        stop=stop or Stop(),
        on_evaluation=lambda stage, images, samples: evaluated.append(images) or {"fd": 2.0},
    )
    return made, run_logger, evaluated


def saved(made):
    return sorted(int(path.name) for path in made.run.checkpoints.folder.iterdir())


@pytest.mark.parametrize(
    ("before", "after", "every", "expected"),
    [
        (0, 10, 10, True),
        (0, 9, 10, False),
        (9, 10, 10, True),
        (10, 19, 10, False),
        (7, 14, 10, True),
        (15, 40, 10, True),
        (0, 10, None, False),
    ],
)
def test_an_interval_is_crossed_once_whatever_the_batch(before, after, every, expected):
    assert crossed(before, after, every) == expected


@pytest.mark.parametrize("batch_size", [1, 3, 7, 16])
def test_every_multiple_is_crossed_by_one_batch(batch_size):
    edges = range(0, 300, batch_size)
    times = sum(crossed(edge, edge + batch_size, 16) for edge in edges)
    assert times == (edges[-1] + batch_size) // 16


def test_progress_is_counted_in_images(tmp_path):
    made, run_logger, evaluated = loop(tmp_path)
    stage = CountingStage(images=50, batch_size=8, evaluate_every=20)
    made.drive(stage, offset=1000)
    assert stage.steps == [0, 8, 16, 24, 32, 40, 48]  # the last batch goes past the end
    assert stage.evaluations == evaluated == [24, 40, 56]
    assert [images for _, images, figures in run_logger.lines if "loss" in figures] == [24, 40, 56]
    assert saved(made) == [1032, 1056]
    checkpoint, _ = made.run.checkpoints.newest()
    assert checkpoint.finished
    assert checkpoint.images == 56
    means = [figures["loss"] for _, _, figures in run_logger.lines if "loss" in figures]
    assert means == [8.0, 28.0, 44.0]  # each line is the mean of its own steps


def test_each_step_is_seeded_by_the_images_before_it(tmp_path):
    made, _, _ = loop(tmp_path)
    stage = CountingStage(images=32, batch_size=8)
    made.drive(stage, 0)
    assert stage.seeds == [derive_seed(5, "teacher/step", images) for images in (0, 8, 16, 24)]
    assert set(stage.met) == {f"picture {i}" for i in range(8)}


def test_a_resumed_stage_goes_on_as_if_nothing_had_happened(tmp_path):
    straight = CountingStage(images=64, batch_size=8)
    halved, again = CountingStage(images=64, batch_size=8), CountingStage(images=64, batch_size=8)
    for other in (halved, again):
        other.network.load_state_dict(straight.network.state_dict())
    loop(tmp_path / "straight")[0].drive(straight, 0)
    made, _, _ = loop(tmp_path / "halved", Stop(at=4))
    with pytest.raises(InterruptedRunError, match="32 of 64 teacher images"):
        made.drive(halved, 0)
    checkpoint, _ = made.run.checkpoints.newest()
    assert not checkpoint.finished
    loop(tmp_path / "again")[0].drive(again, 0, checkpoint)
    assert halved.steps + again.steps == straight.steps
    assert halved.met + again.met == straight.met
    assert halved.seeds + again.seeds == straight.seeds
    assert torch.equal(again.network.weight, straight.network.weight)


@pytest.mark.parametrize("at", range(1, 9))
def test_a_signal_at_any_moment_leaves_saved_work_behind(tmp_path, at):
    """Asked again between saving and leaving, a loop would leave with steps that it says are saved and are not."""
    made, _, _ = loop(tmp_path, Stop(at), checkpoint_every=1000)
    stage = CountingStage(images=800, batch_size=8)
    with pytest.raises(InterruptedRunError, match=r"SIGTERM.*saved"):
        made.drive(stage, 0)
    checkpoint, _ = made.run.checkpoints.newest()
    assert checkpoint.images == stage.steps[-1] + 8


def test_a_signal_in_the_last_step_does_not_spoil_the_end(tmp_path):
    made, _, _ = loop(tmp_path, Stop(at=1))
    made.drive(CountingStage(images=8, batch_size=8), 0)
    assert made.run.checkpoints.newest()[0].finished


def test_ten_bad_steps_in_a_row_are_a_divergence_that_names_the_items(tmp_path):
    made, _, _ = loop(tmp_path)
    stage = CountingStage(images=8000, batch_size=4, skips=range(3, 100))
    with pytest.raises(DivergedError, match="10 steps in a row") as caught:
        made.drive(stage, 0)
    assert len(stage.steps) == 2 + PATIENCE == 12
    assert all(name in str(caught.value) for name in stage.met[-4:])
    assert caught.value.exit_code == 4
    assert max(saved(made)) < stage.steps[-1]


def test_a_good_step_in_between_is_enough(tmp_path):
    made, run_logger, _ = loop(tmp_path)
    stage = CountingStage(images=20 * 4, batch_size=4, skips=[*range(1, 10), *range(11, 20)])
    made.drive(stage, 0)
    assert sum(figures.get("skipped", 0) for _, _, figures in run_logger.lines) == 18


def test_a_full_disk_ends_the_loop_with_the_earlier_checkpoint_whole(tmp_path, monkeypatch):
    made, _, _ = loop(tmp_path)
    stage = CountingStage(images=200, batch_size=8)
    calls = []

    def full_at_the_second_time(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(*args, **kwargs)

    import safetensors.torch

    original = safetensors.torch.save_file
    monkeypatch.setattr(safetensors.torch, "save_file", full_at_the_second_time)
    with pytest.raises(OSError, match="No space left"):
        made.drive(stage, 0)
    assert saved(made) == [32]
    assert made.run.checkpoints.newest()[0].images == 32


def test_steps_go_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """It holds the stage as it stood when it was taken, and the next one waits for it."""
    made, _, _ = loop(tmp_path, checkpoint_every=16)
    stage = CountingStage(images=64, batch_size=8)
    went_on, weights, under_way = threading.Event(), {}, []
    step, write = stage.step, made.run.checkpoints.write

    def stepping(batch, images, generator):
        figures = step(batch, images, generator)
        weights[images + 8] = stage.network.weight.detach().clone()
        if images + 8 == 24:
            went_on.set()
        return figures

    def writing(snapshot):
        under_way.append(snapshot.images)
        assert len(under_way) == 1
        assert went_on.wait(60), "the step after the checkpoint waited for it"
        path = write(snapshot)
        under_way.remove(snapshot.images)
        return path

    monkeypatch.setattr(stage, "step", stepping)
    monkeypatch.setattr(made.run.checkpoints, "write", writing)
    made.drive(stage, 0)
    assert saved(made) == [16, 32, 48, 64]
    for images in saved(made):
        kept = torch.nn.Linear(1, 1)
        verify(made.run.checkpoints.folder / f"{images:010d}").load_network("teacher", kept)
        assert torch.equal(kept.weight, weights[images])


def test_a_write_that_failed_ends_the_run_without_waiting_for_the_next(tmp_path, monkeypatch):
    made, _, _ = loop(tmp_path, checkpoint_every=16)
    stage = CountingStage(images=8000, batch_size=8)
    failed = threading.Event()

    def full(snapshot):
        failed.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    step = stage.step

    def stepping(batch, images, generator):
        if images == 16:
            assert failed.wait(60)
        return step(batch, images, generator)

    monkeypatch.setattr(stage, "step", stepping)
    monkeypatch.setattr(made.run.checkpoints, "write", full)
    with pytest.raises(OSError, match="No space left"):
        made.drive(stage, 0)
    assert len(stage.steps) < 10


def test_another_error_waits_for_the_checkpoint_under_way_and_is_the_one_told(tmp_path, monkeypatch):
    made, _, _ = loop(tmp_path, checkpoint_every=16)
    stage = CountingStage(images=64, batch_size=8)
    step, write, failing = stage.step, made.run.checkpoints.write, threading.Event()

    def stepping(batch, images, generator):
        if images == 16:
            failing.set()
            raise ValueError("of the step")
        return step(batch, images, generator)

    def writing(snapshot):
        assert failing.wait(60)
        return write(snapshot)

    monkeypatch.setattr(stage, "step", stepping)
    monkeypatch.setattr(made.run.checkpoints, "write", writing)
    with pytest.raises(ValueError, match="of the step"):
        made.drive(stage, 0)
    assert saved(made) == [16]


def test_signals_are_noted_and_the_old_handlers_come_back():
    before = {number: signal.getsignal(number) for number in StopRequest.SIGNALS}
    with StopRequest() as stop:
        assert stop.name is None
        signal.raise_signal(signal.SIGUSR1)
        assert stop.name == "SIGUSR1"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in StopRequest.SIGNALS} == before


def test_the_first_interrupt_is_a_request():
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.name == "SIGINT"
        signal.raise_signal(signal.SIGTERM)  # asked twice, politely
