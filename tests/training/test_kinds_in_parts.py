"""Every corruption × objective × student loss in parts: the same draws as in the whole batch, and the same losses.

Corruptions come from the list of ``test_corruption_kinds``, which must name every kind of the protocol; objectives and
losses from their lists. A part is a pass (``engine.micro_batch``) or a rank.
"""

import pytest
import torch
import yaml
from torch import nn

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import ImageCorruption, Measurement
from rsd_med.corruptions.kinds import CORRUPTIONS
from rsd_med.diffusion.backbones import LearningNetwork
from rsd_med.diffusion.backbones.layers import dropped
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators import Identity, MultiCoilFourier
from rsd_med.runs.distribution import Distribution
from rsd_med.students.adversarial import AdversarialSettings
from rsd_med.students.kinds import LOSSES
from rsd_med.teachers.augmentation import AugmentationSettings
from rsd_med.teachers.kinds import OBJECTIVES
from rsd_med.training.student_stage import StudentSettings, StudentStage
from tests.operators.contracts import random_maps
from tests.test_corruption_kinds import FITS
from tests.training.toys import generator

ITEMS, SIDE, COILS = 6, 16, 2


# Of what has options that draw differently, each is tried.
OPTIONS = {"ambient_tweedie": [{}, {"below": "clamp"}, {"consistency": {"walks": 2, "steps": 2}}]}
ASKED = {
    f"{name}{number or ''}": kind(**options)
    for name, kind in OBJECTIVES.items()
    for number, options in enumerate(OPTIONS.get(name, [{}]))
}
TEXTS = [*FITS, "{kind: multicoil_fourier, acceleration: 2, acs_lines: 4, mask: file}"]


def accepted():
    for text in TEXTS:
        given = yaml.safe_load(text)
        corruption = CORRUPTIONS[given["kind"]](**given)
        for name, objective in ASKED.items():
            try:
                objective.build(corruption.build())
            except ProtocolError:
                continue
            yield pytest.param(corruption, objective, id=f"{text.strip('{}')}-{name}")


class Recorded(Draws):
    """Keeps every number that is drawn."""

    def _items(self, items, draw):
        drawn = super()._items(items, draw)
        vars(self).setdefault("drawn", []).append(drawn)
        return drawn


class Pointwise(LearningNetwork):
    """Treats every pixel alike and drops out: whatever differs between parts was drawn."""

    def __init__(self, channels):
        super().__init__()
        self.channels, self.gain = channels, nn.Parameter(torch.tensor(0.6))

    def forward(self, x, noise_label, augmentation=None, masks=None):
        label = noise_label if augmentation is None else noise_label + augmentation.sum(1)
        return dropped(self.gain * x[:, : self.channels] + 0.01 * label.reshape(-1, 1, 1, 1), 0.2, masks and masks[0])

    def features(self, x, noise_label):
        return self.gain * x[:, : self.channels] + 0.01 * noise_label.reshape(-1, 1, 1, 1)

    def dropout_masks(self, x, draws):
        return [draws.uniform(len(x), self.channels, *x.shape[2:]) >= 0.2]


class Rank(Distribution):
    """One of several ranks, in a process that holds the whole batch."""

    def __init__(self, rank, world_size, batch):
        self.rank, self.world_size, self.batch = rank, world_size, batch

    def pick(self, operator, orders):
        return self.batch.operator[orders[self.rank]]


def measured(corruption):
    """Return measurements under a corruption: of images, or of k-space."""
    images = 0.5 * torch.randn(ITEMS, 1, SIDE, SIDE, generator=generator(1))
    operator, data = Identity(), images
    if not isinstance(corruption, ImageCorruption):
        maps = random_maps((ITEMS, COILS, SIDE, SIDE), torch.complex64, 2)
        mask = corruption.draw_mask(SIDE, generator(3), rows=SIDE)
        operator = MultiCoilFourier(mask.reshape(1, 1, -1, SIDE).expand(ITEMS, -1, -1, -1), maps)
        images = torch.complex(images, images.flip(-1))
        data = operator(images)
    names = ("a", "b", *["generated"] * (ITEMS - 2))  # some are images of a source, which may draw by their names
    like = Measurement(data, operator, torch.full((ITEMS,), corruption.sigma), torch.ones(ITEMS), names)
    made = corruption.corrupt(images, like, generator(4))
    return Measurement(made.data, made.operator, made.sigma, made.scale, names)


def stage_for(loss, objective, channels):
    teacher = Denoiser(Pointwise(channels))
    adversarial = AdversarialSettings() if loss.kind == "sid" else None
    settings = StudentSettings(loss=loss, adversarial=adversarial, images=8)
    stage = StudentStage(settings, teacher, objective, monitor=None, seed=0)
    if isinstance(objective.corruption, ImageCorruption) and objective.transforms != "none":
        stage.augmentation = AugmentationSettings(probability=0.5).build(objective)
    return stage


def drawn_and_lost(stage, batch, phase):
    """Return what was drawn, call by call, the loss of each item, and the state that the next phase begins with."""
    draws, losses = Recorded().manual_seed(5), []

    def noted(part):
        losses.append(PHASES[phase](stage, part, draws))
        return losses[-1]

    stage.accumulate("parts", batch, draws, noted)
    passes = len(losses)
    calls = [draws.drawn[number :: len(draws.drawn) // passes] for number in range(len(draws.drawn) // passes)]
    return [torch.cat(call) for call in calls], torch.cat(losses).detach(), draws.get_state()


PHASES = {
    "learn": lambda stage, part, draws: stage.learn(stage.generator, stage.objective, part, draws),
    "generator": lambda stage, part, draws: stage._generator_losses(part, draws, stage.adversary),
    "fake": lambda stage, part, draws: stage._fake_losses(part, draws),
}


@pytest.mark.parametrize(("corruption", "objective"), [*accepted()])
def test_parts_draw_and_lose_what_the_whole_batch_does(corruption, objective):
    objective = objective.build(corruption.build())
    batch = measured(objective.corruption)
    channels = 2 if batch.data.is_complex() else batch.data.shape[1]
    for loss in (kind() for kind in LOSSES.values()):
        phases = ["learn", "generator"]
        stage = stage_for(loss, objective, channels)
        for phase in phases if stage.fake_optimiser is None else [*phases, "fake"]:
            whole = drawn_and_lost(stage, batch, phase)
            assert len(whole[0]) >= 2, "levels and noise at least are drawn"
            stage.micro_batch = 3
            passes = drawn_and_lost(stage, batch, phase)
            stage.micro_batch = None
            ranks = []
            for rank in range(2):
                stage.distribution = Rank(rank, 2, batch)
                ranks.append(drawn_and_lost(stage, stage.distribution.share(batch), phase))
            stage.distribution = Distribution()
            drawn = [torch.cat(both) for both in zip(ranks[0][0], ranks[1][0], strict=True)]
            shared = (drawn, torch.cat([ranks[0][1], ranks[1][1]]), ranks[0][2])
            for numbers, losses, state in (passes, shared):
                assert len(numbers) == len(whole[0])
                assert all(torch.equal(one, other) for one, other in zip(numbers, whole[0], strict=True))
                torch.testing.assert_close(losses, whole[1], rtol=1e-4, atol=1e-4)
                assert torch.equal(state, whole[2])
