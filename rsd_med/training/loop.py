"""One loop for both stages. Progress is counted in images; all randomness derives from (seed, stage, images)."""

import copy
import signal
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Self

import torch
from torch import Tensor

from rsd_med.base import later
from rsd_med.base.errors import DivergedError, InterruptedRunError
from rsd_med.base.later import Later
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.runs.background import Background
from rsd_med.runs.checkpoints import Checkpoint
from rsd_med.runs.distribution import ALONE, Distribution
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.run_logger import RunLogger
from rsd_med.runs.snapshot import Snapshot
from rsd_med.training.batches import BatchOrder
from rsd_med.training.loader import read_batches, reader_count, watched_readers
from rsd_med.training.settings import EngineSettings
from rsd_med.training.signals import StopRequest
from rsd_med.training.stage import Stage

PATIENCE = 10
"""Steps in a row with a gradient that is not finite before a run counts as diverged."""

DIVERGED = 1000
"""What ranks tell one another of a stage that cannot go on; smaller words are signals."""


class Loop:
    """Drive a stage from its first image, or from a checkpoint, to its last.

    Parameters
    ----------
    dataset
        The measurements.
    settings
        Logging and checkpoint intervals.
    run, run_logger
        Where results go.
    seed
        The run's seed.
    device
        Where batches are put.
    stop
        Asked after every step.
    on_evaluation
        Given the stage, its images and its samples at every evaluation; may return further figures for the log.
    distribution
        The other processes of the run: every rank drives the same stage on its share of each batch, rank 0 writes.
    """

    def __init__(
        self,
        dataset: MeasurementDataset,
        settings: EngineSettings,
        run: RunFolder,
        run_logger: RunLogger,
        seed: int,
        device: torch.device,
        stop: StopRequest,
        on_evaluation: Callable[[Stage, int, Tensor], dict[str, float]],
        distribution: Distribution = ALONE,
    ) -> None:
        self.dataset = dataset
        self.settings = settings
        self.run = run
        self.run_logger = run_logger
        self.seed = seed
        self.device = device
        self.readers = reader_count(settings.workers, dataset, device)
        self.stop = stop
        self.on_evaluation = on_evaluation
        self.distribution = distribution

    def over(self, dataset: MeasurementDataset) -> Self:
        """Return this loop over other measurements."""
        other = copy.copy(self)
        other.dataset, other.readers = dataset, reader_count(self.settings.workers, dataset, self.device)
        return other

    def drive(self, stage: Stage, offset: int, resume_from: Checkpoint | None = None) -> None:
        """Train ``stage`` to its end and leave a finished checkpoint.

        Parameters
        ----------
        stage
            What to train.
        offset
            Images of the stages before this one; checkpoints are named by the total.
        resume_from
            Where to go on.

        Raises
        ------
        DivergedError
            After ten steps in a row whose gradients were not finite, or all of a shorter stage; names the items of the
            last one. Where an evaluation finds the stage lost; the state is saved.
        InterruptedRunError
            After a signal; the state is saved.
        OSError
            Where a checkpoint could not be written. Writing goes on beside the steps, so that a few may have passed.
        """
        with watched_readers(self.readers), Background() as writing:
            self._drive(stage, offset, resume_from, writing)

    def _drive(self, stage: Stage, offset: int, resume_from: Checkpoint | None, writing: Background) -> None:
        images = 0 if resume_from is None else resume(stage, resume_from)
        order = BatchOrder(self.dataset.groups(), stage.batch_size, self.seed, f"{stage.name}/order")
        numbers = range(images // stage.batch_size, -(-stage.images // stage.batch_size))
        batches = read_batches(self.dataset, order, self.distribution.share, numbers, self.device, self.readers)
        self.run_logger.begin_stage(stage.name, images, stage.images)
        window, skips = _Window(), _Skips(min(PATIENCE, numbers.stop))
        while images < stage.images:
            before, began = images, time.monotonic()
            batch = next(batches)
            generator = generator_for(self.seed, f"{stage.name}/step", before, device=self.device)
            figures = stage.step(batch, before, generator)
            images = before + stage.batch_size
            last = images >= stage.images

            seconds = time.monotonic() - began
            skips.add(figures["skipped"])
            stop, diverged = self._agreed(diverged=skips.too_many(wait=last))
            if diverged:
                raise self.distribution.told_once(self._divergence(stage, skips.patience, images, batch))
            later.check(wait=last)
            window.add(figures, stage.batch_size, seconds)
            if last or crossed(before, images, self.settings.log_every):
                self.run_logger.record(stage.name, images, window.close())
            self.run_logger.progress(images)
            lost = None
            if last or crossed(before, images, stage.evaluate_every):
                lost = self._evaluate(stage, images)
                stop = stop or self._agreed()[0]
            # A signal from here on is for the next step: none may leave without saving.
            writing.look()
            due = last or stop or lost or crossed(before, images, self.settings.checkpoint_every)
            if due and self.distribution.is_main:
                writing.finish()  # before the next copy is taken: memory holds one at a time
                writing.start(
                    partial(self.run.checkpoints.write, Snapshot.take(stage, images, offset + images, finished=last))
                )
            if last or stop or lost:
                writing.finish()
                self.distribution.wait()
            if lost:
                raise self.distribution.told_once(DivergedError(lost))
            if stop and not last:
                raise self.distribution.told_once(
                    InterruptedRunError(
                        f"stopped by {stop} after {images:,} of {stage.images:,} {stage.name} images; "
                        "everything is saved, run the same command again to go on."
                    )
                )
        self.run_logger.end_stage()

    def _agreed(self, *, diverged: bool = False) -> tuple[str | None, bool]:
        """Return the name of the signal that has reached any rank, and whether any knows that the stage has diverged.

        One word for both, and all ranks go on alike, though a figure may reach one of them earlier than another.
        """
        name = self.stop.name
        word = DIVERGED if diverged else 0 if name is None else int(signal.Signals[name])
        word = self.distribution.agree(word)
        return (signal.Signals(word).name if 0 < word < DIVERGED else None), word == DIVERGED

    def _divergence(self, stage: Stage, bad_steps: int, images: int, batch: Measurement) -> DivergedError:
        offenders = self.distribution.gather_texts(stage.offenders())
        held = (
            f"the loss of {', '.join(offenders[:8])} was not"
            if offenders
            else f"the last batch held {', '.join(batch.ids[:8])}"
        )
        return DivergedError(
            f"{stage.name}: the gradients of {bad_steps} steps in a row were not finite, {images:,} images in; {held}. "
            f"Lower {stage.name}'s learning rate, or check these items; the last checkpoint is kept."
        )

    def _evaluate(self, stage: Stage, images: int) -> str | None:
        """Measure the stage and log what was found; return why it must not go on, the same on every rank."""
        began = time.monotonic()
        figures, samples = stage.evaluate(images)
        if samples.isfinite().all():
            figures = figures | self.on_evaluation(stage, images, samples)
        self.run_logger.record(stage.name, images, figures | {"evaluation_seconds": time.monotonic() - began})
        named = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.run_logger.say(f"{stage.name} at {images:,} images: {named}")
        return next(iter(self.distribution.gather_texts([stage.verdict] if stage.verdict else [])), None)


def resume(stage: Stage, checkpoint: Checkpoint) -> int:
    """Put ``stage`` back to where ``checkpoint`` was written; return its count of images."""
    for name, network in stage.networks().items():
        checkpoint.load_network(name, network)
    state = checkpoint.load_state()
    for name, optimiser in stage.optimisers().items():
        optimiser.load_state_dict(state["optimisers"][name])
    stage.load_extra_state(state["extra"])
    return checkpoint.images


def crossed(before: int, after: int, every: int | None) -> bool:
    """Say whether a multiple of ``every`` lies in ``(before, after]``: batches need not divide intervals."""
    return every is not None and after // every > before // every


class _Window:
    """Means since the last line of the log, with the rate. They are added up where the figures are made."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._steps = 0
        self._images = 0
        self._seconds = 0.0

    def add(self, figures: dict[str, Tensor], images: int, seconds: float) -> None:
        values = torch.stack(list(figures.values())).to(torch.float64).nan_to_num(0.0, 0.0, 0.0)
        self._sums = values if self._sums is None else self._sums + values
        self._names = tuple(figures)
        self._steps += 1
        self._images += images
        self._seconds += seconds

    def close(self) -> dict[str, float]:
        """Return the means; this waits until all steps have been computed, and their seconds say so."""
        began = time.monotonic()
        sums = dict(zip(self._names, [] if self._sums is None else self._sums.tolist(), strict=True))
        self._seconds += time.monotonic() - began
        means = {name: value / self._steps for name, value in sums.items()}
        means["skipped"] = sums.get("skipped", 0.0)
        means["seconds"] = self._seconds
        means["images_per_second"] = self._images / max(self._seconds, 1e-9)
        self._clear()
        return means


class _Skips:
    """Counts skipped steps in a row, on the device, and hears of them when they have arrived."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self._in_a_row: Tensor | None = None
        self._coming: deque[Later] = deque()

    def add(self, skipped: Tensor) -> None:
        before = torch.zeros_like(skipped) if self._in_a_row is None else self._in_a_row
        self._in_a_row = (before + 1) * skipped
        self._coming.append(Later(self._in_a_row))

    def too_many(self, *, wait: bool) -> bool:
        """Say whether so many steps in a row are known to have been skipped; ``wait`` for the last ones to be known."""
        while self._coming and (wait or self._coming[0].arrived):
            if float(self._coming.popleft().read()) >= self.patience:
                return True
        return False
