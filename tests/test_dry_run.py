"""A dry run takes the steps that the run would take."""

from types import SimpleNamespace

from rsd_med.dry_run import time_step
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.runs.distribution import Distribution
from tests.apps.tiny_run import PROTOCOL


class SecondOfTwo(Distribution):
    rank, world_size = 1, 2


def test_each_rank_steps_on_its_own_share(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(PROTOCOL)
    experiment = Experiment(load_protocol(path), tmp_path, distribution=SecondOfTwo())
    batches = []
    stage = SimpleNamespace(name="teacher", batch_size=4, step=lambda batch, *_: batches.append(batch.ids))
    time_step(experiment, stage)
    time_step(Experiment(experiment.protocol, tmp_path), stage)
    assert batches[0] == batches[1] == batches[2][2:]
    assert len(batches[2]) == 4
