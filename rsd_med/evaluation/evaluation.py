"""Teacher against student: samples, distances, seconds per image, side by side."""

import time
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.progress import doing
from rsd_med.base.settings import Settings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.kinds import SAMPLERS
from rsd_med.diffusion.samplers.base import SamplerSettings
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.evaluation.generation import BATCH, Draw, draw_images, student_draw, teacher_draw
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.evaluation.reference import CleanReference
from rsd_med.metrics.distances import MINIMUM_IMAGES
from rsd_med.metrics.features import FeatureSettings
from rsd_med.metrics.kinds import FEATURES
from rsd_med.metrics.random_conv import RandomConvSettings
from rsd_med.runs.distribution import ALONE, Distribution
from rsd_med.teachers.base import Objective


class EvaluationSettings(Settings):
    """What is measured at the end of a run."""

    num_samples: int = Field(1000, ge=2, description="samples behind every distance")
    seeds: PositiveInt = Field(1, description="draws of all samples; of several, means and standard deviations")
    features: Annotated[FeatureSettings, FEATURES] = Field(
        default_factory=RandomConvSettings, description="extractor behind the distances"
    )
    audited_samples: NonNegativeInt = Field(500, description="samples searched for copies of the data; 0 for none")
    monitor_images: int = Field(1000, ge=2, description="measurements behind the proximal distance")
    samplers: tuple[Annotated[SamplerSettings, SAMPLERS], ...] = Field(
        (HeunSettings(),), min_length=1, description="the teacher's; the first also draws while it trains"
    )


class Evaluator:
    """Measures one model after the other with the same conditions, noise and reference.

    Parameters
    ----------
    objective
        How networks see images.
    monitor
        Proximal distances, and the conditions to sample under.
    reference
        Clean images for evaluation alone, or None.
    num_samples, seed
        How many, and which.
    seeds
        How often, each time with the next seed.
    distribution
        Ranks share the drawing of samples and the computing of features; rank 0 alone compares these.

    Raises
    ------
    DataError
        If there are too few samples or clean images to compare.
    """

    def __init__(
        self,
        objective: Objective,
        monitor: ProximalMonitor,
        reference: CleanReference | None,
        num_samples: int,
        seed: int,
        seeds: int = 1,
        distribution: Distribution = ALONE,
    ) -> None:
        if reference is not None:
            require_comparable(num_samples, len(reference))
        self.objective = objective
        self.monitor = monitor
        self.reference = reference
        self.num_samples = num_samples
        self.seed = seed
        self.seeds = seeds
        self.distribution = distribution

    def measure(self, draw: Draw) -> tuple[dict[str, float], Tensor]:
        """Draw samples and measure them.

        Returns
        -------
        tuple[dict[str, float], Tensor]
            Figures (those of `against_reference`, ``proximal_fd``, ``seconds_per_image``) and the samples of
            the first seed in channels, ``(n, channels, y, x)``. With several seeds each figure is their mean, and
            ``<figure>_std`` is their standard deviation.
        """
        measured = [self._measure_seed(draw, self.seed + number) for number in range(self.seeds)]
        figures, images = measured[0]
        if self.seeds == 1:
            return figures, images
        values = {name: [each[name] for each, _ in measured] for name in figures}
        means = {name: mean(repeats) for name, repeats in values.items()}
        return means | {f"{name}_std": stdev(repeats) for name, repeats in values.items()}, images

    def _measure_seed(self, draw: Draw, seed: int) -> tuple[dict[str, float], Tensor]:
        conditions = self.monitor.measurements
        # One batch beforehand: the first call pays for kernels and memory that the others find ready.
        draw_images(draw, self.objective, conditions, 1, seed)
        began = time.perf_counter()
        images = draw_images(draw, self.objective, conditions, self.num_samples, seed, self.distribution)
        # Of one process, however many share the work: as many as one that drew most has drawn.
        most = BATCH * -(-self.num_samples // (BATCH * self.distribution.world_size))
        seconds = (time.perf_counter() - began) / min(self.num_samples, most)
        figures = {"proximal_fd": self.monitor.distance(images), "seconds_per_image": seconds}
        return self.against_reference(images) | figures, images

    def against_reference(self, images: Tensor) -> dict[str, float]:
        """Return the figures of `CleanReference.figures`; nothing without one, and on ranks other than 0.

        Every rank has to ask: they share the computing of features.
        """
        if self.reference is None:
            return {}
        features = self.reference.dealt_features(images, self.distribution)
        return self.reference.figures(images, features) if self.distribution.is_main else {}


def require_comparable(samples: int, references: int) -> None:
    """Refuse to compare too few images, before hours of training and not after; DataError names the keys."""
    if min(samples, references) < MINIMUM_IMAGES:
        raise DataError(
            f"evaluation: {samples} samples cannot be compared with {references} clean images; raise "
            f"evaluation.num_samples and evaluation.reference to {MINIMUM_IMAGES} images or more, better to 1000."
        )


def sampler_name(sampler: SamplerSettings, others: Sequence[SamplerSettings]) -> str:
    """Name a sampler by its kind, and by its steps where another has the same kind."""
    alone = sum(other.kind == sampler.kind for other in others) == 1
    return sampler.kind if alone else f"{sampler.kind}_{sampler.steps}"


def evaluate_models(
    evaluator: Evaluator,
    teacher: Denoiser,
    samplers: Sequence[SamplerSettings],
    student: Denoiser | None,
    few_steps: FewSteps,
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Measure the teacher with every sampler, and the student.

    Returns
    -------
    tuple[dict[str, Any], Mapping[str, Tensor]]
        The content of ``metrics.json``, and samples by the name of the model.
    """
    samples: dict[str, Tensor] = {}
    teacher_figures: dict[str, dict[str, float]] = {}
    data_sigma = evaluator.objective.corruption.sigma
    for number, sampler in enumerate(samplers):
        if any(other.effective(data_sigma) == sampler.effective(data_sigma) for other in samplers[:number]):
            continue  # it would draw the same images again
        name = sampler_name(sampler, samplers)
        with doing(f"teacher.{name}"):
            figures, images = evaluator.measure(teacher_draw(teacher, sampler, data_sigma))
        teacher_figures[name] = figures | {"network_calls": sampler.calls(data_sigma)}
        samples[f"teacher.{name}"] = images
    metrics: dict[str, Any] = {
        "teacher": teacher_figures,
        "features": evaluator.monitor.extractor.name,
        "num_samples": evaluator.num_samples,
        "num_reference": 0 if evaluator.reference is None else len(evaluator.reference),
        "seed": evaluator.seed,
        "seeds": evaluator.seeds,
    }
    if student is not None:
        with doing("student"):
            figures, images = evaluator.measure(student_draw(student, few_steps))
        samples["student"] = images
        metrics["student"] = figures | {"network_calls": few_steps.calls}
        criterion = "fd" if "fd" in figures else "proximal_fd"
        best = min(teacher_figures, key=lambda name: teacher_figures[name][criterion])
        metrics["best_teacher"] = best
        metrics["ratio"] = figures[criterion] / teacher_figures[best][criterion]
        metrics["speedup"] = teacher_figures[best]["seconds_per_image"] / figures["seconds_per_image"]
    return metrics | _of_reference(evaluator, samples), samples


def _of_reference(evaluator: Evaluator, samples: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what the report shows of the reference: its air, and each model's spectrum as a multiple of its own."""
    reference = evaluator.reference
    if reference is None or not evaluator.distribution.is_main:
        return {}
    air = None if reference.air is None else reference.air.level(reference.images)
    ratios = {name: list(reference.spectrum_ratio(images)) for name, images in samples.items()}
    return {"reference_air": air, "spectrum": {"frequencies": list(reference.spectrum.frequencies), "over": ratios}}
