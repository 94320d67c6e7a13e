"""What the loop asks of a stage of training."""

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.base.notices import say_once
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.compute import begin_pass
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.runs.distribution import ALONE, Distribution
from rsd_med.teachers.augmentation import Augmentation
from rsd_med.teachers.base import Objective

RECENT_PASSES = 32
"""Passes whose losses are remembered, to name the items behind a skipped step."""

TRIAL_STEPS = 2
"""Steps in which ranks tell one another whether a pass had memory enough; Adam's moments are there from the second."""


@dataclass(frozen=True)
class Execution:
    """How a stage is carried out; its result does not depend on the first two.

    Attributes
    ----------
    distribution
        The other processes of the run.
    micro_batch
        Images in one pass of a network at most; a rank's share of a batch takes as many passes as it needs.
    augmentation
        How measurements are transformed before a network learns from them; None: not at all.
    """

    distribution: Distribution = ALONE
    micro_batch: int | None = None
    augmentation: Augmentation | None = None


SIMPLE = Execution()
"""One process, whole batches, no augmentation."""


class Stage(ABC):
    """Networks and optimisers that a loop drives through a number of images.

    Parameters
    ----------
    images
        Length of the stage, in images.
    batch_size
        Images in a step, on all ranks together.
    evaluate_every
        Images between calls of ``evaluate``; None for one at the end.
    execution
        How it is carried out.

    Attributes
    ----------
    name
        ``"teacher"``, ``"student"`` or ``"reconstructor"``.
    generates
        Whether its samples are new images, so that their law can be held against that of real ones.
    verdict
        Why training must not go on, as the last evaluation says: a sentence, or None to go on.
    """

    name: str
    generates: bool = True

    def __init__(
        self, images: int, batch_size: int, evaluate_every: int | None = None, execution: Execution = SIMPLE
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.evaluate_every = evaluate_every
        self.distribution = execution.distribution
        self.micro_batch = execution.micro_batch
        self.augmentation = execution.augmentation
        self.verdict: str | None = None
        self._share: Measurement | None = None
        self._pass = 0
        self._steps_that_fit: Counter[tuple[str, torch.Size]] = Counter()
        self._recent: deque[tuple[Tensor, tuple[str, ...]]] = deque(maxlen=RECENT_PASSES)

    @abstractmethod
    def step(self, batch: Measurement, images: int, draws: Draws) -> dict[str, Tensor]:
        """Take one optimisation step after ``images`` images; return figures for the log, on the device.

        ``skipped`` is 1 where a gradient was not finite: those weights stay, and their average moves on towards them.
        ``batch`` is this rank's share. All randomness comes from ``draws``, which the loop derives from the count
        of images and which is the same on every rank.
        """

    @abstractmethod
    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks whose weights a checkpoint holds, by file name."""

    @abstractmethod
    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers whose state a checkpoint holds."""

    @abstractmethod
    def evaluate(self, images: int) -> tuple[dict[str, float], Tensor]:
        """Measure the stage without clean data.

        Returns
        -------
        tuple[dict[str, float], Tensor]
            Figures for the log, and the samples behind them in channels, ``(n, channels, y, x)``, always of the same
            noise.
        """

    @abstractmethod
    def extra_state(self) -> dict[str, float | int | None]:
        """Return further plain numbers that a resumed stage needs."""

    @abstractmethod
    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what ``extra_state`` returned."""

    def accumulate(
        self, passes: str, batch: Measurement, draws: Draws, losses: Callable[[Measurement], Tensor]
    ) -> Tensor:
        """Compute this rank's part of the gradient of the mean loss of a whole batch.

        Parameters
        ----------
        passes
            What is computed: passes of one name and of one shape of data need the same memory.
        batch
            This rank's share.
        draws
            In the same state on every rank, before and after: they are those of the whole batch.
        losses
            From items of the share, as many at a time as ``micro_batch`` allows, to the loss of each, ``(b,)``. Out of
            memory, it is asked again for fewer at a time: `micro_batch` is smaller from then on. So it is on all ranks
            where one of them has too little, in the first steps of each name and shape.

        Returns
        -------
        Tensor
            Mean loss of the share, a number on the device, without gradient.
        """
        begin_pass()
        fitted = passes, batch.data.shape
        on_trial = self._steps_that_fit[fitted] < TRIAL_STEPS
        while True:
            mark = draws.mark()
            try:
                loss = self._accumulated(batch, draws, losses, on_trial)
                self._steps_that_fit[fitted] += 1
                return loss
            except torch.OutOfMemoryError:
                if self.distribution.world_size > 1 and not on_trial:
                    raise  # the other ranks would not know
                self._take_smaller_passes(len(batch))
            # Outside the handler, whose traceback would hold on to the tensors of the pass.
            draws.rewind(mark)
            for network in self.networks().values():
                network.zero_grad(set_to_none=True)
            if batch.device.type == "cuda":
                torch.cuda.empty_cache()

    def _take_smaller_passes(self, share: int) -> None:
        """Let a network see fewer images at once, as many as the next number of passes leaves it.

        Raises
        ------
        OutOfMemoryError
            The one that is being handled, if a pass has one image already.
        """
        before = share // count_passes(share, self.micro_batch)
        if before == 1:
            raise
        self.micro_batch = next(size for size in range(before - 1, 0, -1) if share % size == 0)
        say_once(
            f"{self.name}: out of memory with {before} images at once; going on with {self.micro_batch}, with the same "
            f"result (engine.micro_batch: {self.micro_batch} would begin so)."
        )

    def _accumulated(
        self, batch: Measurement, draws: Draws, losses: Callable[[Measurement], Tensor], on_trial: bool
    ) -> Tensor:
        passes = count_passes(len(batch), self.micro_batch)
        parts = passes * self.distribution.world_size
        if parts == 1:
            item_losses = losses(batch)
            self._remember(item_losses, batch)
            loss = item_losses.mean()
            torch.autograd.backward(loss)
            return loss.detach()
        items = len(batch) // passes
        start = draws.mark()
        total = torch.zeros((), device=batch.data.device)
        self._share = batch
        try:
            for number in range(passes):
                self._pass = number
                draws.rewind(start)
                microbatch = batch[number * items : (number + 1) * items]
                with self._company(on_trial, last=number == passes - 1):
                    # What draws in a step of this name and shape is seen in the first ones.
                    with draws.part(self.distribution.rank * passes + number, parts, items, watched=on_trial):
                        item_losses = losses(microbatch)
                    self._remember(item_losses, microbatch)
                    loss = item_losses.mean() / passes
                    torch.autograd.backward(loss)
                total += loss.detach()
        finally:
            self._share = None
        return total

    def _company(self, on_trial: bool, *, last: bool) -> AbstractContextManager[None]:
        """Return what a pass has to do with other ranks: no gradient travels before all know that it had memory."""
        if on_trial:
            return self.distribution.short_of_memory_together()
        return self.distribution.averaging(self.networks().values()) if last else nullcontext()

    def learn(self, network: Denoiser, objective: Objective, measurement: Measurement, draws: Draws) -> Tensor:
        """Return the loss of each item, ``(b,)``, of a network that learns from measurements."""
        labels = None
        if self.augmentation is not None:
            measurement, labels = self.augmentation(measurement, draws)
        return objective(network.learning(draws, labels), measurement, draws)

    def pick(self, batch: Measurement, draws: Draws) -> Measurement:
        """Return a batch with the operators of other items, also of those that lie with other ranks.

        Parameters
        ----------
        batch
            What ``accumulate`` gave to ``losses``.
        draws
            For the order, the same on all ranks.
        """
        orders = draws.permutations(len(batch))
        if self._share is None:
            return batch[orders[0]]
        passes = len(orders) // self.distribution.world_size
        now = orders[self._pass :: passes]  # of each rank, what it asks for in this pass
        return replace(batch, operator=self.distribution.pick(self._share.operator, now))

    def _remember(self, losses: Tensor, batch: Measurement) -> None:
        """Remember losses; only after a skipped step are they asked whether they were finite."""
        self._recent.append((losses.detach(), batch.ids))

    def offenders(self) -> list[str]:
        """Return the ids of this rank's items whose loss was not finite in the last passes."""
        offenders: dict[str, None] = {}
        for losses, ids in self._recent:
            finite = losses.isfinite().tolist()
            offenders |= {name: None for is_finite, name in zip(finite, ids, strict=True) if not is_finite}
        return list(offenders)


def count_passes(share: int, micro_batch: int | None) -> int:
    """Count the passes that a rank's share of a batch takes.

    Raises
    ------
    ProtocolError
        If ``micro_batch`` leaves passes of different lengths.
    """
    passes = -(-share // (micro_batch or share))
    if share % passes:
        raise ProtocolError(
            f"engine.micro_batch: a share of {share} images cannot be divided into equal passes of at most "
            f"{micro_batch}; choose a divisor of {share}."
        )
    return passes
