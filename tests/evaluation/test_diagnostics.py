"""The figures of a distillation, and when it is stopped: toys that diverge or collapse on purpose, and healthy ones."""

import math

import pytest
import torch

from rsd_med.base.errors import DivergedError
from rsd_med.corruptions import NoiseSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.students.sds import SDSSettings
from rsd_med.training.early_stopping import EarlyStopping, EarlyStoppingSettings
from rsd_med.training.loop import Loop, resume
from rsd_med.training.settings import EngineSettings
from rsd_med.training.signals import StopRequest
from tests.training.test_student_stage import MEAN, SIGMA, STD, gaussian_stage
from tests.training.test_teacher_stage import equal
from tests.training.toys import CountingStage, Kept, Pixels, QuietJournal, generator, pictures, run_folder

HEALTHY = {
    "proximal_fd": 1.0,
    "best_proximal_fd": 1.0,
    "fixed_fake_loss": 2.0,
    "fixed_teacher_loss": 2.0,
    "diversity": 0.9,
}


class Flat:
    """All pixels as features."""

    name = "flat"
    dimension = 16

    def __call__(self, images):
        return images.flatten(1).double()


def loop(tmp_path, checkpoint_every=10**6):
    return Loop(
        Kept(pictures(64)), EngineSettings(checkpoint_every=checkpoint_every), run_folder(tmp_path), QuietJournal(), 0,
        torch.device("cpu"), StopRequest(), lambda *_: {},
    )  # fmt: skip


def generations(std, count=128, seed=3):
    return MEAN + std * torch.randn(count, 1, 4, 4, generator=generator(seed))


@pytest.mark.parametrize(
    "corruption",
    [
        NoiseSettings(sigma=SIGMA).build(),
        NoiseSettings(sigma=1.5 * STD).build(),
        InpaintingSettings(missing=0.3).build(),
    ],
)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_diversity_is_a_share_of_the_variance_of_the_images_whatever_the_corruption_adds(corruption, share):
    """Independent pixels N(m, share · s²) against data of N(m, s²): the diversity is the share."""
    measured = corruption.corrupt(generations(STD, 2000, 4), pictures(2000), generator(5))
    monitor = ProximalMonitor(measured, corruption, Flat(), seed=0)
    assert monitor.diversity(generations(STD * share**0.5)) == pytest.approx(share, abs=0.12)


def test_diversity_that_cannot_be_seen_is_not_told():
    noise = NoiseSettings(sigma=4 * STD).build()
    measured = noise.corrupt(generations(STD, 500, 4), pictures(500), generator(5))
    monitor = ProximalMonitor(measured, noise, Flat(), seed=0)
    assert monitor.diversity(generations(STD)) is None
    seen = ProximalMonitor(pictures(64), NoiseSettings(sigma=SIGMA).build(), Pixels(), seed=0)
    assert seen.diversity(generations(STD, 1)) is None


def test_the_gap_and_the_losses_of_known_networks():
    """Before the first step teacher and fake score are one network; then their gap is that of two Gaussians."""
    stage = gaussian_stage()
    figures, _ = stage.evaluate(0)
    assert figures["gap"] == 0
    assert figures["diversity"] < 0.2  # D(2.5 z; 2.5) is blurred
    assert set(figures) == {
        "proximal_fd", "best_proximal_fd", "diversity", "gap", "fixed_fake_loss", "fixed_teacher_loss"
    }  # fmt: skip
    stage.fake.mean.data += 0.2
    again, _ = stage.evaluate(1)
    # |a − b| = (1 − s²/(s² + σ²)) 0.2 against |y − a|, at levels around 0.5: of the order of one half.
    assert 0.1 < again["gap"] < 2
    assert again["fixed_teacher_loss"] == figures["fixed_teacher_loss"]
    stage.fake.mean.data += 2
    assert stage.evaluate(2)[0]["fixed_fake_loss"] > 3 * again["fixed_fake_loss"]
    assert stage.evaluate(2)[0] == stage.evaluate(3)[0]  # the same noise at every call


def test_figures_leave_no_trace():
    stage = gaussian_stage()
    stage.step(pictures(8), 0, generator())
    before = {
        name: {key: value.clone() for key, value in network.state_dict().items()}
        for name, network in stage.networks().items()
    }
    noise = torch.random.get_rng_state()
    stage.evaluate(8)
    del before["student"]
    assert all(equal(dict(stage.networks()[name].state_dict()), state) for name, state in before.items())
    assert all(parameter.requires_grad for parameter in stage.fake.parameters())
    assert torch.equal(noise, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("proximal_fd", 10.5, "diverged: the proximal distance"),
        ("fixed_fake_loss", 21.0, "diverged: the fake score's loss"),
        ("diversity", 0.08, "collapsed: the generations hardly differed"),
    ],
)
def test_a_limit_counts_when_it_is_passed_again_and_again(figure, value, words):
    watch = EarlyStopping(EarlyStoppingSettings())
    lost = HEALTHY | {figure: value}
    read = [watch.read(figures, 100 * i) for i, figures in enumerate([HEALTHY, lost, lost, HEALTHY, lost, lost])]
    assert read == [None] * 6
    sentence = watch.read(lost, 6000)
    assert words in sentence
    assert all(word in sentence for word in ("6,000 images", "learning_rate", "fake_steps", "is kept"))
    resumed = EarlyStopping(EarlyStoppingSettings())
    again = EarlyStopping(EarlyStoppingSettings())
    for figures in [HEALTHY, lost, lost]:
        resumed.read(figures, 0)
    again.load_state(resumed.state())
    assert words in again.read(lost, 0)


def test_what_is_not_finite_counts_at_once():
    assert "no longer finite" in EarlyStopping(EarlyStoppingSettings()).read(HEALTHY | {"gap": math.inf}, 5)


def test_little_diversity_is_a_collapse_only_after_more():
    """A generator begins as its teacher at a high level, which is blurred; it may also begin with too much."""
    watch = EarlyStopping(EarlyStoppingSettings(patience=1))
    assert [watch.read(HEALTHY | {"diversity": d}, 0) for d in (0.01, 0.02, 0.05, 0.3, 30.0, 0.2)] == [None] * 6
    assert "collapsed" in watch.read(HEALTHY | {"diversity": 0.09}, 0)


def test_a_distillation_that_diverges_is_stopped_with_its_best_student_kept(tmp_path):
    """At a rate of two the generator runs away; what was best before is in the checkpoint."""
    stage = gaussian_stage(rate=2.0, images=64 * 400, evaluate_every=64 * 4)
    made = loop(tmp_path)
    with pytest.raises(DivergedError, match="student: the distillation has"):
        made.drive(stage, 0)
    checkpoint, _ = made.run.checkpoints.newest("student")
    assert not checkpoint.finished
    assert 0 < checkpoint.images < stage.images
    kept = gaussian_stage(rate=2.0)
    resume(kept, checkpoint)
    assert equal(dict(kept.best.state_dict()), dict(stage.best.state_dict()))
    assert kept.extra_state() == stage.extra_state()
    logged = [figures for _, _, figures in made.run_logger.lines if "gap" in figures]
    assert len(logged) >= 3  # the figures that condemned it can be read
    assert stage.best_distance == min(figures["proximal_fd"] for figures in logged)


def test_a_distillation_that_collapses_is_stopped(tmp_path):
    """After a hundred steps the deviation is set to a twenty-fifth, and held there."""
    stage = gaussian_stage(rate=0.05, images=64 * 400, evaluate_every=64 * 20)
    step = stage.step

    def collapsing(batch, images, source):
        figures = step(batch, images, source)
        if images > 64 * 100:
            stage.ema.module.log_std.data.fill_(math.log(0.02))
        return figures

    stage.step = collapsing
    made = loop(tmp_path)
    with pytest.raises(DivergedError, match="collapsed"):
        made.drive(stage, 0)


def test_a_healthy_distillation_is_never_stopped(tmp_path):
    stage = gaussian_stage(rate=0.05, images=64 * 200, evaluate_every=64 * 10)
    made = loop(tmp_path)
    made.drive(stage, 0)
    logged = [figures for _, _, figures in made.run_logger.lines if "gap" in figures]
    assert len(logged) == 20
    assert stage.early_stopping.in_a_row == {"distance": 0, "fake_loss": 0, "diversity": 0}
    assert max(figures["gap"] for figures in logged) > 3 * logged[-1]["gap"]
    assert logged[-1]["diversity"] == pytest.approx(1, abs=0.3)
    assert logged[-1]["fixed_fake_loss"] == pytest.approx(logged[-1]["fixed_teacher_loss"], rel=0.3)


def test_sds_is_measured_and_not_stopped(tmp_path):
    """It collapses by its nature."""
    stage = gaussian_stage(rate=0.05, images=64 * 120, evaluate_every=64 * 10, loss=SDSSettings())
    made = loop(tmp_path)
    made.drive(stage, 0)
    diversity = [figures["diversity"] for _, _, figures in made.run_logger.lines if "diversity" in figures]
    assert len(diversity) == 12
    assert diversity[-1] < 0.05


def test_generations_that_are_not_finite_end_the_run_with_exit_code_4(tmp_path):
    stage = gaussian_stage(images=64 * 40, evaluate_every=64 * 4)
    draw, drawn = stage.draw, []
    stage.draw = lambda count: drawn.append(1) or (draw(count) if len(drawn) < 3 else draw(count) / 0)
    made = loop(tmp_path)
    with pytest.raises(DivergedError, match="no longer finite") as caught:
        made.drive(stage, 0)
    assert caught.value.exit_code == 4
    checkpoint, _ = made.run.checkpoints.newest("student")
    assert checkpoint.images == 64 * 12
    assert stage.best_images in (64 * 4, 64 * 8)


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_short_stage_of_bad_steps_alone_has_diverged(tmp_path, steps):
    stage = CountingStage(images=8 * steps, batch_size=8, skips=range(1, 100))
    made = loop(tmp_path)
    with pytest.raises(DivergedError, match=f"{steps} steps in a row"):
        made.drive(stage, 0)
    assert made.run.checkpoints.newest() == (None, [])
    loop(tmp_path / "good").drive(CountingStage(images=8 * 4, batch_size=8, skips=[2, 3, 4]), 0)
