"""A prior learns from the scan at hand: the ambient objective on its own measured lines, stopped by hidden ones.

Several copies learn, each with other lines hidden. Together they tell when to stop, and the mean of their weights has
learned from every line.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.inverse.base import Progress, Reconstruction, Solver, SolverSettings, repeat
from rsd_med.inverse.hiding import FOLDS, enough_draws, hide, lines_of
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

LEVEL = 0.05
"""The network's noise level when it predicts them."""

_Part = tuple[Measurement, Measurement]
"""The lines that are shown to a copy, and those that are hidden from it."""


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
    batch_size: PositiveInt = Field(2, description="further masks and noise levels in a step")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's; it falls to zero over the steps")


@dataclass(frozen=True)
class Adaptation:
    """What came of it.

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
    """

    steps: int
    taken: int
    copies: int
    before: float
    after: float
    floor: float


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

    Raises
    ------
    ProtocolError
        If the network is none that undersampled k-space can teach.
    """

    def __init__(self, settings: SolverSettings, trained: TrainedNetwork, adaptation: AdaptationSettings) -> None:
        super().__init__(settings)
        if not isinstance(trained, Amortised):
            corruption = trained.corruption if isinstance(trained, Prior) else None
            columns = isinstance(corruption, MultiCoilUndersampling) and not corruption.in_the_plane
            if not columns or settings.needs != "teacher":
                raise ProtocolError(
                    "--adapt needs a reconstructor, or a teacher of undersampled columns (ambient_fourier) and a "
                    "method for it."
                )
        self.trained = trained
        self.adaptation = adaptation

    def __call__(self, measurement: Measurement, generator: Draws, progress: Progress | None = None) -> Reconstruction:
        """Adapt, then reconstruct with all lines; see `Solver`."""
        self.trained.check(measurement)
        report = progress if progress is not None else _ignore
        trained, adaptation = adapt(
            self.trained, measurement, self.adaptation, generator, lambda done: report(SHARE_OF_TIME * done)
        )
        solver = self.settings.build(trained)
        rest = 1 - SHARE_OF_TIME
        result = solver(measurement, generator, lambda done: report(SHARE_OF_TIME + rest * done))
        return replace(result, facts={"adaptation": vars(adaptation)})

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Return the samples of a call."""
        return self(measurement, generator, progress).samples


def adapt(
    trained: TrainedNetwork, measurement: Measurement, settings: AdaptationSettings, draws: Draws, progress: Progress
) -> tuple[TrainedNetwork, Adaptation]:
    """Let a network learn from one slice.

    Several copies of the network learn side by side. From each, one in six lines outside the centre is hidden, other
    ones from each, as for the check on hidden lines (`rsd_med.inverse.hiding`). From the rest a copy learns as the
    network did in training: shown a part of them, a teacher is asked for all (Aali et al., arXiv 2403.08728), a
    reconstructor for the others. The step is kept at which the copies predict best what is hidden from them, together;
    the start is among them. Noise in hidden lines is independent of all that a copy has seen, so that following noise
    is no better there.

    The result is one network, with the mean of the copies' weights. Networks that went on from the same weights for a
    short time have means that are better than each (Wortsman et al., Model soups, ICML 2022), and this one has learned
    from all lines.

    An adapted teacher is shown images under the scan's own mask, as it was while it learned.

    Parameters
    ----------
    trained
        Teacher or reconstructor of column masks.
    measurement
        One slice.
    settings, draws
        How; the source of randomness.
    progress
        Told how far the work is; it may raise to cancel.

    Raises
    ------
    ProtocolError
        If the scan is none of columns, or has two maps of each coil.
    FewLinesError
        If too few lines of it were measured to hide some.
    """
    operator = measurement.operator
    if not isinstance(operator, MultiCoilFourier) or operator.mask.shape[-2] != 1:
        raise ProtocolError("--adapt needs a Cartesian scan of whole columns; leave it out.")
    if operator.sets > 1:
        raise ProtocolError("--adapt takes one map of each coil: give --calibration maps.sets=1, or leave it out.")
    parts = _parted(measurement, settings.copies, draws)
    kind: type[_Lesson] = _ReconstructorLesson if isinstance(trained, Amortised) else _TeacherLesson
    lessons = [kind(trained, shown, draws) for shown, _ in parts]
    batches = [repeat(shown, settings.batch_size) for shown, _ in parts]
    options = AdamSettings(learning_rate=settings.learning_rate, decay="cosine")
    optimisers = [options.build(lesson.network) for lesson in lessons]
    energy = sum(float(hidden.data.abs().square().sum()) for _, hidden in parts)

    @torch.no_grad()
    def look() -> float:
        missed = (hidden.operator(one.predict()) - hidden.data for one, (_, hidden) in zip(lessons, parts, strict=True))
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
    noise = sum(float(hidden.operator.entry_counts(hidden.data)[0]) for _, hidden in parts)
    noise *= 2 * float(measurement.sigma[0]) ** 2
    adapted = kind.learned(trained, measurement, parts, [lesson.network for lesson in lessons], draws)
    return adapted, Adaptation(best_step, taken, len(parts), before, best, noise / energy)


class _TeacherLesson:
    """Of a teacher."""

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

    @staticmethod
    def learned(
        trained: TrainedNetwork, whole: Measurement, parts: Sequence[_Part], copies: Sequence[Any], draws: Draws
    ) -> TrainedNetwork:
        """Return the teacher that the copies make together."""
        operator = whole.operator
        assert isinstance(trained, Prior)
        assert isinstance(operator, MultiCoilFourier)
        masks = operator.mask.reshape(-1, 1, 1, operator.mask.shape[-1])
        return replace(trained, denoiser=_mean(copies), masks=masks)


class _ReconstructorLesson:
    """Of a reconstructor."""

    def __init__(self, trained: TrainedNetwork, shown: Measurement, draws: Draws) -> None:
        assert isinstance(trained, Amortised)
        self.trained, self.shown = trained, shown
        self.network = copy.deepcopy(trained.network).requires_grad_(True)
        central = round(trained.score.central * shown.size[1] / trained.size[1])
        self.score = replace(trained.score, central=central)
        # The latents with which the network is looked at are the same each time.
        self.noise = draws.normal(1, DRAWS, LATENTS, *shown.size).to(shown.device) * (not trained.point)

    def loss(self, batch: Measurement, draws: Draws) -> Tensor:
        return self.score(self.network.learning(draws), batch, draws)[0].mean()

    def predict(self) -> Tensor:
        images: Tensor = self.network(self.shown, self.noise)
        return images.mean(1)

    @staticmethod
    def learned(
        trained: TrainedNetwork, whole: Measurement, parts: Sequence[_Part], copies: Sequence[Any], draws: Draws
    ) -> TrainedNetwork:
        """Return the reconstructor that the copies make together."""
        assert isinstance(trained, Amortised)
        network = _mean(copies)
        if not trained.point and float(whole.sigma[0]) > 0:
            # Of lines that a copy has learned from it is surer than of others: those hidden from it tell how far off it
            # is now. The mean of all is nearer, so that this is on the safe side.
            split = [(one, *part) for one, part in zip(copies, parts, strict=True)]
            network.spreads.clamp_(min=spread_on(split, whole, draws))
        return replace(trained, network=network)


_Lesson = _TeacherLesson | _ReconstructorLesson
"""What one copy learns from a slice, and how it predicts what was hidden from it."""


def _at_width(prior: Prior, measurement: Measurement) -> MultiCoilUndersampling:
    corruption, width = prior.corruption, measurement.size[1]
    assert isinstance(corruption, MultiCoilUndersampling)
    return corruption if width == prior.size[1] else corruption.at_width(width, prior.size[1])


def _parted(measurement: Measurement, copies: int, draws: Draws) -> list[_Part]:
    """Return for each copy the measurement without its hidden lines, and these alone."""
    operator, lines = measurement.operator, lines_of(measurement)
    assert isinstance(operator, MultiCoilFourier)
    parts = []
    for one in hide(measurement, lines, enough_draws(lines, copies), draws):
        alone, data = operator.restricted(measurement.data, torch.isin(lines.numbers, one.lines))
        parts.append((one.rest, replace(measurement, operator=alone, data=data)))
    return parts


@torch.no_grad()
def _mean(copies: Sequence[Any]) -> Any:
    """Return a network with the mean of the weights; of equal ones, these very weights."""
    network, states = copy.deepcopy(copies[0]), [one.state_dict() for one in copies]
    for name, target in network.state_dict().items():
        if target.is_floating_point():
            target += sum(state[name] - target for state in states[1:]) / len(states)
    return network


def _ignore(done: float) -> None:
    """Report to nobody."""
