"""A prior learns from the scan at hand: the ambient objective on its own measured lines, stopped by hidden ones.

Several copies learn, each with other lines hidden. Together they tell when to stop, and the mean of their weights has
learned from every line.
"""

import copy
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import FewLinesError, ProtocolError
from rsd_med.base.progress import Progress, part_of, silent
from rsd_med.base.randomness import generator_for
from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.inverse.base import SLICES, Reconstruction, Solver, SolverSettings, repeat
from rsd_med.inverse.hiding import FOLDS, Hidden, enough_draws, hidden_of, lines_of
from rsd_med.inverse.prior import Amortised, Prior, TrainedNetwork
from rsd_med.inverse.proximal import data_proximal, guess_variance
from rsd_med.inverse.spread_calibration import spread_on
from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.teachers.ambient_fourier import AmbientFourier, mask_context
from rsd_med.training.adam import AdamSettings
from rsd_med.training.optim import take_step

SHARE_OF_TIME = 0.7
"""Of the progress that is told, the adaptation's."""

LOOKS = 2
"""Further masks under which the hidden lines are predicted; the mean of the estimates counts."""

DRAWS = 4
"""Draws whose mean a reconstructor predicts them with."""

WARM_UP = 10
"""Steps over which the learning rate rises. Adam's first steps are as long as any, and know least of where to go."""

KEPT = SLICES
"""Slices whose networks are kept: those of a volume that the check looks at need not be learned from twice."""

LEVEL = 0.05
"""The network's noise level when it predicts them."""


class AdaptationSettings(Settings):
    """How long and how fast a prior learns from one scan."""

    steps: PositiveInt = Field(description="steps at most")
    copies: int = Field(
        3,
        ge=1,
        le=FOLDS,
        description="copies that learn, each with other lines hidden; more where one hides few lines",
    )
    check_every: PositiveInt = Field(10, description="steps from one look at the hidden lines to the next")
    patience: PositiveInt = Field(10, description="looks without a better result after which it ends")
    batch_size: PositiveInt = Field(1, description="further masks and noise levels in a step of a copy")
    learning_rate: float = Field(5e-4, gt=0, description="Adam's; it rises over ten steps, and falls to zero")


@dataclass(frozen=True)
class Adaptation:
    """How it went.

    Attributes
    ----------
    steps
        Steps whose weights were kept; 0: the prior as it came predicted the hidden lines best.
    taken
        Steps that were taken.
    copies
        How many networks learned, each with other lines hidden.
    before, after
        Squared error of the prediction of the hidden lines, relative to their energy, of the prior and of the copies,
        each on its own; 1 is predicting nothing.
    floor
        Expected error of a perfect image: the noise in the hidden lines.
    seconds
        Wall-clock time.
    """

    steps: int
    taken: int
    copies: int
    before: float
    after: float
    floor: float
    seconds: float


@dataclass(frozen=True)
class Adapted:
    """What came of it.

    Attributes
    ----------
    network
        What the copies make together.
    copies
        Each of them, which knows nothing of the lines that were hidden from it.
    facts
        How it went.
    """

    network: TrainedNetwork
    copies: Sequence[TrainedNetwork]
    facts: Adaptation


class AdaptingSolver(Solver):
    """A method whose network adapts to each slice before it is asked.

    Parameters
    ----------
    settings
        Of the method; it asks a teacher or a reconstructor.
    trained
        The network, trained under undersampling of columns.
    adaptation
        How.
    seed
        Which lines are hidden, and all chance of learning, derive from it and the slice's id.

    Raises
    ------
    ProtocolError
        If the network is none that undersampled k-space can teach.
    """

    learns = True

    def __init__(
        self, settings: SolverSettings, trained: TrainedNetwork, adaptation: AdaptationSettings, seed: int = 0
    ) -> None:
        super().__init__(settings)
        if not isinstance(trained, Amortised):
            corruption = trained.corruption if isinstance(trained, Prior) else None
            columns = isinstance(corruption, MultiCoilUndersampling) and not corruption.in_the_plane
            columns = columns and isinstance(trained, Prior) and trained.hides
            if not columns or settings.needs != "teacher":
                raise ProtocolError(
                    "--adapt needs a reconstructor, or a teacher of undersampled columns (ambient_fourier) and a "
                    "method for it."
                )
        self.trained = trained
        self.adaptation = adaptation
        self.seed = seed
        self._latest: deque[tuple[Measurement, Sequence[Hidden], Adapted]] = deque(maxlen=KEPT)

    def __call__(self, measurement: Measurement, generator: Draws, progress: Progress | None = None) -> Reconstruction:
        """Adapt, then reconstruct with all lines; see `Solver`."""
        report = progress if progress is not None else silent
        measurement = self._ready(measurement)
        adapted = self._adapted(measurement, self._hidden(measurement), lambda done: report(SHARE_OF_TIME * done))
        solver = self.settings.build(adapted.network)
        rest = 1 - SHARE_OF_TIME
        result = solver(measurement, generator, lambda done: report(SHARE_OF_TIME + rest * done))
        seconds = adapted.facts.seconds + result.seconds
        return replace(result, seconds=seconds, facts={"adaptation": vars(adapted.facts)})

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Return the samples of a call."""
        return self(measurement, generator, progress).samples

    def without(
        self, measurement: Measurement, hidden: Sequence[Hidden], generators: Sequence[Draws], progress: Progress
    ) -> list[Tensor]:
        """Reconstruct without some lines, by the copies that these were hidden from: adapting once is enough.

        What is hidden chose the step at which all copies end, one of a few, and nothing else. See `Solver.without`.
        """
        measurement = self._ready(measurement)
        hidden = [replace(one, rest=self._ready(one.rest)) for one in hidden]
        # The lines of the first copies, as a rule: then all adapt, as they do for the image, and the first are asked.
        every = self._hidden(measurement)
        others = every if _lines(every)[: len(hidden)] == _lines(hidden) else hidden
        adapted = self._adapted(measurement, others, part_of(progress, 0, 2))
        return [
            self.settings.build(copied)(
                one.rest, generator, part_of(progress, len(hidden) + number, 2 * len(hidden))
            ).mean
            for number, (copied, one, generator) in enumerate(zip(adapted.copies, hidden, generators, strict=False))
        ]

    def _hidden(self, measurement: Measurement) -> list[Hidden]:
        """Return the measurement as each copy is given it."""
        draws = enough_draws(lines_of(measurement), self.adaptation.copies)
        return hidden_of(measurement, draws, self.seed)[1]

    def _ready(self, measurement: Measurement) -> Measurement:
        """Return a measurement that the network can learn from; of two sets of coil maps, reconstructors take one."""
        self.trained.check(measurement)
        operator = measurement.operator
        if not isinstance(operator, MultiCoilFourier) or operator.mask.shape[-2] != 1:
            raise ProtocolError(
                "adapting needs a Cartesian scan of whole columns of k-space; take this one without it."
            )
        if operator.sets > 1 and self.settings.takes_sets:
            raise ProtocolError("--adapt takes one map of each coil: give --calibration maps.sets=1, or leave it out.")
        return replace(measurement, operator=operator.first_set())

    def _adapted(self, measurement: Measurement, hidden: Sequence[Hidden], progress: Progress) -> Adapted:
        """Adapt, unless that was just done: the check on hidden lines asks, and then the image does."""
        for latest in self._latest:
            if _same(latest, measurement, hidden):
                return latest[2]
        draws = generator_for(self.seed, "adapt", measurement.ids[0], device=measurement.device)
        adapted = adapt(self.trained, measurement, hidden, self.adaptation, draws, progress)
        self._latest.append((measurement, hidden, adapted))
        return adapted


def adapt(
    trained: TrainedNetwork,
    measurement: Measurement,
    hidden: Sequence[Hidden],
    settings: AdaptationSettings,
    draws: Draws,
    progress: Progress,
) -> Adapted:
    """Let a network learn from one slice.

    Copies of the network learn side by side. From each, other lines outside the centre are hidden
    (`rsd_med.inverse.hiding`). From the rest a copy learns as the network did in training: shown a part of them, a
    teacher is asked for all (Aali et al., arXiv 2403.08728), a reconstructor for the others. The step is kept at which
    the copies predict best what is hidden from them, together; the start is among them. Noise in hidden lines is
    independent of all that a copy has seen, so that following noise is no better there.

    The result is one network, with the mean of the copies' weights. Networks that went on from the same weights for a
    short time have means that are better than each (Wortsman et al., Model soups, ICML 2022), and this one has learned
    from all lines.

    An adapted teacher is shown images under the scan's own mask, as it was while it learned.

    Parameters
    ----------
    trained
        Teacher or reconstructor of column masks.
    measurement
        One slice, with one map of each coil.
    hidden
        It without some lines, for each copy.
    settings, draws
        How; the source of randomness.
    progress
        Told how far the work is; it may raise to cancel.

    Raises
    ------
    FewLinesError
        If the hidden lines hold nothing but zeros.
    """
    began = time.perf_counter()
    operator, numbers = measurement.operator, lines_of(measurement).numbers
    assert isinstance(operator, MultiCoilFourier)
    parts = []
    for one in hidden:
        alone, data = operator.restricted(measurement.data, torch.isin(numbers, one.lines))
        parts.append((one.rest, replace(measurement, operator=alone, data=data)))
    kind: type[_Lesson] = _ReconstructorLesson if isinstance(trained, Amortised) else _TeacherLesson
    lessons = [kind(trained, shown, draws) for shown, _ in parts]
    batches = [repeat(shown, settings.batch_size) for shown, _ in parts]
    options = AdamSettings(learning_rate=settings.learning_rate, decay="cosine", warmup_images=WARM_UP)
    optimisers = [options.build(lesson.network) for lesson in lessons]
    energy = sum(float(part.data.abs().square().sum()) for _, part in parts)
    if energy == 0:
        raise FewLinesError("the lines outside the centre hold no signal to learn from.", item=measurement.ids[0])

    @torch.no_grad()
    def look() -> float:
        missed = (part.operator(lesson.predict()) - part.data for lesson, (_, part) in zip(lessons, parts, strict=True))
        return sum(float(difference.abs().square().sum()) for difference in missed) / energy

    def states() -> list[dict[str, Tensor]]:
        return [copy.deepcopy(lesson.network.state_dict()) for lesson in lessons]

    before = best = look()
    best_step, weights, taken = 0, states(), 0
    for step in range(1, settings.steps + 1):
        for lesson, batch, optimiser in zip(lessons, batches, optimisers, strict=True):
            torch.autograd.backward(lesson.loss(batch, draws))
            take_step(lesson.network, optimiser, options, step, settings.steps)
        taken = step
        if step % settings.check_every == 0 or step == settings.steps:
            error = look()
            if error < best:
                best, best_step, weights = error, step, states()
            if step - best_step >= settings.patience * settings.check_every:
                break
        progress(step / settings.steps)
    for lesson, state in zip(lessons, weights, strict=True):
        lesson.network.load_state_dict(state)
        lesson.network.requires_grad_(False)
    noise = 2 * float(measurement.sigma[0]) ** 2
    noise *= sum(float(part.operator.entry_counts(part.data)[0]) for _, part in parts)
    copies = [lesson.learned(lesson.network, shown) for lesson, (shown, _) in zip(lessons, parts, strict=True)]
    network: Any = _mean([lesson.network for lesson in lessons])
    if isinstance(trained, Amortised) and not trained.point and float(measurement.sigma[0]) > 0:
        # Of lines that a copy has learned from it is surer than of others: those hidden from it tell how far off it is
        # now. The mean of all is nearer, so that this is on the safe side.
        split: list[Any] = [(lesson.network, *part) for lesson, part in zip(lessons, parts, strict=True)]
        network.spreads.clamp_(min=spread_on(split, measurement, draws))
    seconds = time.perf_counter() - began
    facts = Adaptation(best_step, taken, len(parts), before, best, noise / energy, seconds)
    return Adapted(lessons[0].learned(network, measurement), copies, facts)


class _TeacherLesson:
    """What one copy of a teacher learns from a slice, and how it predicts what is hidden from it."""

    def __init__(self, trained: TrainedNetwork, shown: Measurement, draws: Draws) -> None:
        assert isinstance(trained, Prior)
        self.trained, self.shown = trained, shown
        self.network = copy.deepcopy(trained.denoiser).requires_grad_(True)
        self.objective = AmbientFourier(_at_width(trained, shown), LogNormalLevels())
        # The further masks under which the network is looked at are the same each time.
        self.further = self.objective.further(repeat(shown, LOOKS).operator, draws)

    def loss(self, batch: Measurement, draws: Draws) -> Tensor:
        return self.objective(self.network.learning(draws), batch, draws).mean() / math.prod(batch.size)

    def predict(self) -> Tensor:
        image = to_channels(self.further.H(repeat(self.shown, LOOKS).data))
        level = torch.full((LOOKS,), LEVEL, device=image.device)
        guess = to_complex(self.network(image, level, mask_context(self.further))).mean(0, keepdim=True)
        return data_proximal(guess, guess_variance(guess, self.shown), self.shown)

    def learned(self, network: Any, scan: Measurement) -> TrainedNetwork:
        operator = scan.operator
        assert isinstance(operator, MultiCoilFourier)
        masks = operator.mask.reshape(-1, 1, 1, operator.mask.shape[-1])
        return replace(self.trained, denoiser=network, masks=masks)


class _ReconstructorLesson:
    """What one copy of a reconstructor learns from a slice, and how it predicts what is hidden from it."""

    def __init__(self, trained: TrainedNetwork, shown: Measurement, draws: Draws) -> None:
        assert isinstance(trained, Amortised)
        self.trained, self.shown = trained, shown
        # In single precision: a network that is asked has bfloat16 weights, in which small steps are lost.
        self.network = copy.deepcopy(trained.network).float().requires_grad_(True)
        central = round(trained.score.central * shown.size[1] / trained.size[1])
        self.score = replace(trained.score, central=central)
        # The latents with which the network is looked at are the same each time.
        self.noise = draws.normal(1, DRAWS, LATENTS, *shown.size).to(shown.device) * (not trained.point)

    def loss(self, batch: Measurement, draws: Draws) -> Tensor:
        return self.score(self.network.learning(draws), batch, draws)[0].mean()

    def predict(self) -> Tensor:
        images: Tensor = self.network(self.shown, self.noise)
        return images.mean(1)

    def learned(self, network: Any, scan: Measurement) -> TrainedNetwork:
        return replace(self.trained, network=network.settled())


_Lesson = _TeacherLesson | _ReconstructorLesson


def _at_width(prior: Prior, measurement: Measurement) -> MultiCoilUndersampling:
    corruption, width = prior.corruption, measurement.size[1]
    assert isinstance(corruption, MultiCoilUndersampling)
    return corruption if width == prior.size[1] else corruption.at_width(width, prior.size[1])


def _same(
    latest: tuple[Measurement, Sequence[Hidden], Adapted], measurement: Measurement, hidden: Sequence[Hidden]
) -> bool:
    """Return whether these data were adapted to, with these lines hidden."""
    known, before, _ = latest
    names = known.ids == measurement.ids and known.device == measurement.device
    return names and _lines(before) == _lines(hidden) and all(map(torch.equal, _numbers(known), _numbers(measurement)))


def _lines(hidden: Sequence[Hidden]) -> list[list[int]]:
    return [one.lines.tolist() for one in hidden]


def _numbers(measurement: Measurement) -> tuple[Tensor, ...]:
    """Return all that a network learns from."""
    operator = measurement.operator
    assert isinstance(operator, MultiCoilFourier)
    return measurement.data, measurement.sigma, operator.mask, operator.maps


@torch.no_grad()
def _mean(copies: Sequence[Any]) -> Any:
    """Return a network with the mean of the weights; of equal ones, these very weights."""
    network, states = copy.deepcopy(copies[0]), [one.state_dict() for one in copies]
    for name, target in network.state_dict().items():
        if target.is_floating_point():
            target += sum(state[name] - target for state in states[1:]) / len(states)
    return network
