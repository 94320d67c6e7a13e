"""A step of both stages on the virtual GPU: every corruption with its objectives, every objective with all losses."""

from collections import Counter

import numpy as np
import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.students.kinds import LOSSES
from rsd_med.training.batches import load_batch
from rsd_med.training.student_stage import StudentStage
from tests.published import DIFFERENT, published
from tests.test_corruption_kinds import FITS
from tests.virtual_gpu.gpu import VirtualGPU

PROTOCOL = """
schema_version: 1
name: tiny
data: DATA
corruption: CORRUPTION
backbone: {kind: monai_unet, channels: [4], attention: [false], norm_groups: 2}
diffusion: {precision: float32}
teacher: {objective: {kind: OBJECTIVE}, images: 8, batch_size: 4}
student: {images: 8, batch_size: 4}
evaluation: {num_samples: 8, monitor_images: 4, samplers: [{kind: heun, steps: 3}]}
engine: {device: cuda, compile: false}
"""
SCANS = "{kind: knee_phantom, num_images: 8, size: 16, coils: 2, supersample: 1}"
# Of each kind of corruption the first that the table of fits names.
FIRST = {corruption.strip("{}").split(",")[0]: corruption for corruption in reversed(FITS)}
PAIRS = [(corruption, objective) for corruption in FIRST.values() for objective in sorted(FITS[corruption])]
# A loss sees images, two denoisers and the objective's view: each is tried once with each objective.
WITH_ALL_LOSSES = {objective: corruption for corruption, objective in reversed(PAIRS)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    np.save(folder / "images.npy", np.random.default_rng(0).uniform(-1, 1, (8, 16, 16)).astype(np.float32))
    return folder


def build(folder, corruption, objective, *overrides):
    pictures = f"{{kind: arrays, root: {folder / 'images.npy'}, range: [-1, 1]}}"
    text = PROTOCOL.replace("DATA", SCANS if "multicoil" in corruption else pictures)
    path = folder / "protocol.yaml"
    path.write_text(text.replace("CORRUPTION", corruption).replace("OBJECTIVE", objective))
    torch.set_num_threads(1)
    return Experiment(load_protocol(path, list(overrides)), folder)


def take(gpu, experiment, stage, steps=1):
    """Take steps; return what the last one counted. The first one also makes Adam's state and fills caches."""
    batch = load_batch(experiment.dataset, experiment.main_group[:4], experiment.device)
    for number in range(steps):
        before = Counter(gpu.waits), Counter(gpu.to_host), Counter(gpu.to_device)
        generator = generator_for(0, "step", number, device=experiment.device)
        figures = stage.step(batch, 4 * number, generator)
        counted = [now - then for now, then in zip((gpu.waits, gpu.to_host, gpu.to_device), before, strict=True)]
        assert not figures["skipped"]
        assert figures["loss"].isfinite()
    return counted


@pytest.mark.parametrize(("corruption", "objective"), PAIRS, ids=[f"{c.strip('{}')}-{o}" for c, o in PAIRS])
def test_every_stage_takes_a_step_where_its_network_lies(folder, corruption, objective):
    with VirtualGPU() as gpu:
        experiment = build(folder, corruption, objective)
        teacher = experiment.teacher_stage()
        take(gpu, experiment, teacher)
        every = WITH_ALL_LOSSES[objective] == corruption
        for loss in LOSSES.values() if every else [type(experiment.protocol.student.loss)]:
            student = experiment.protocol.student.model_copy(update={"loss": loss()})
            stage = StudentStage(student, teacher.ema.module, experiment.objective, experiment.monitor, seed=0)
            take(gpu, experiment, stage)


@pytest.mark.parametrize(("corruption", "objective"), [PAIRS[0], PAIRS[-1]])
def test_a_step_in_two_passes_stays_on_the_device(folder, corruption, objective):
    with VirtualGPU() as gpu:
        experiment = build(folder, corruption, objective, "engine.micro_batch=2")
        teacher = experiment.teacher_stage()
        take(gpu, experiment, teacher)
        take(gpu, experiment, experiment.student_stage(teacher.ema.module))


@pytest.mark.parametrize("name", DIFFERENT)
def test_no_step_of_a_published_protocol_waits(folder, name):
    """The second step of each stage: no number is asked for, and no copy waited for."""
    with VirtualGPU() as gpu:
        experiment = published(name, folder)
        teacher = experiment.teacher_stage()
        for stage in (teacher, experiment.student_stage(teacher.ema.module)):
            counted = take(gpu, experiment, stage, steps=2)
            assert not sum(counted, Counter()), [dict(counter) for counter in counted]
