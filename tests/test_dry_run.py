"""A dry run takes the steps that the run would take."""

from types import SimpleNamespace

import pytest

from rsd_med.base.errors import ProtocolError, RsdMedError
from rsd_med.dry_run import time_step
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.runs.distribution import Distribution
from rsd_med.train import main
from tests.apps.tiny_run import PROTOCOL


class SecondOfTwo(Distribution):
    rank, world_size = 1, 2


def test_each_rank_steps_on_its_own_share(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL)
    experiment = Experiment(load_protocol(path), tmp_path, distribution=SecondOfTwo())
    batches = []
    stage = SimpleNamespace(
        name="teacher",
        batch_size=4,
        micro_batch=2,
        step=lambda batch, *_: batches.append(batch.ids),
    )
    time_step(experiment, stage)
    _, tried = time_step(Experiment(experiment.protocol, tmp_path), stage)
    assert tried == 4
    assert batches[0] == batches[1] == batches[-1][2:]
    assert len(batches[-1]) == 4


def test_a_batch_of_any_size_is_judged_by_part_of_it(tmp_path):
    """A network that takes a second for each image: no more than a few are tried."""
    import time

    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL)
    experiment = Experiment(load_protocol(path), tmp_path)
    clock, sizes = [0.0], []

    def step(batch, *_):
        sizes.append(len(batch))
        clock[0] += len(batch)

    stage = SimpleNamespace(name="teacher", batch_size=100_000, micro_batch=None, step=step)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: clock[0])
        seconds, tried = time_step(experiment, stage)
    assert (seconds, tried) == (100_000, 4)
    assert sizes == [1, 1, 4]


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("evaluation.num_samples=1", "evaluation.num_samples: must be at least 2"),
        ("evaluation.monitor_images=1", "evaluation.monitor_images: must be at least 2"),
        ("teacher.evaluate_samples=1", "teacher.evaluate_samples: must be at least 2"),
        ("student.evaluate_samples=1", "student.evaluate_samples: must be at least 2"),
        ("data.num_images=1", "data: of one shape there is 1 image"),
        ("evaluation.reference={kind: knee_phantom, num_images: 5, size: 16}", "evaluation: .* 5 clean images"),
        ("evaluation.reference={kind: knee_phantom, num_images: 8, size: 20}", "evaluation.reference: .* 20 x 20"),
        ("evaluation.features={kind: inception, weights: nowhere.pth}", "nowhere.pth"),
        ("student.batch_size=5", "engine.micro_batch: a share of 5"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_what_would_end_a_run_at_its_end_is_refused_before_it(override, sentence, dry, tmp_path):
    path, folder = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(PROTOCOL.replace("split: test, num_images: 4", "split: test, num_images: 8"))
    arguments = ["--set", override, "--set", "engine.micro_batch=4", *(["--dry-run"] if dry else ["--quiet"])]
    with pytest.raises(RsdMedError, match=sentence):
        main([str(path), "--run-dir", str(folder), *arguments])
    assert not folder.exists()


def test_a_sampler_that_compares_masks_is_refused_for_a_teacher_of_whole_images(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL)
    changes = ["corruption={kind: noise, sigma: 0.1}", "teacher.objective={kind: ambient_tweedie}"]
    changes += ["evaluation.samplers=[{kind: heun}, {kind: guided}]", "evaluation.reference=null"]
    arguments = [word for change in changes for word in ("--set", change)]
    with pytest.raises(ProtocolError, match=r"evaluation\.samplers: guided compares masks"):
        main([str(path), "--dry-run", *arguments])
