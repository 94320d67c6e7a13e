"""The student: a generator of one step or a few, distilled by comparing teacher and fake score on generations."""

import copy
import math
from collections.abc import Mapping
from typing import Annotated, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Conditions, Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.evaluation.diagnostics import compare_scores
from rsd_med.evaluation.generation import draw_images, student_draw
from rsd_med.evaluation.monitor import ProximalMonitor, corrupt_generation
from rsd_med.operators.channels import to_channels
from rsd_med.students.adversarial import AdversarialSettings, Adversary
from rsd_med.students.base import LossSettings
from rsd_med.students.kinds import LOSSES
from rsd_med.students.sid import SiDSettings
from rsd_med.teachers.base import Objective
from rsd_med.training.adam import AdamSettings
from rsd_med.training.early_stopping import EarlyStopping, EarlyStoppingSettings
from rsd_med.training.ema import EMA
from rsd_med.training.kinds import OPTIMISERS
from rsd_med.training.optim import OptimiserSettings, take_step
from rsd_med.training.settings import EMASettings
from rsd_med.training.stage import SIMPLE, Execution, Stage


class StudentSettings(Settings):
    """Phase II: distillation (arXiv 2505.13377).

    The defaults are those that did best at small budgets (docs/results.md): rates far above the published ones, the
    fake score's three times the generator's, which fall to zero. The published protocols state their own.
    """

    loss: Annotated[LossSettings, LOSSES] = Field(
        default_factory=SiDSettings, description="what moves the generator towards the teacher"
    )
    adversarial: AdversarialSettings | None = Field(
        None, description="a critic of corrupted generations beside the loss, which learns from the measurements"
    )
    images: PositiveInt = Field(description="length of the stage, in generated images per network")
    batch_size: PositiveInt = Field(32, description="images in a step")
    sigma_init: float = Field(2.5, gt=0, description="the generator is the denoiser at this noise level")
    clip: bool = Field(
        True,
        description="whether what it draws darker than black or brighter than white is set to it; real pictures alone",
    )
    skip: bool = Field(
        True,
        description="whether the generator passes a share of its noise on, as its teacher does; without it, less grain",
    )
    further_levels: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        (),
        max_length=3,
        description="noise levels of further calls of the generator, each of which denoises what those before have "
        "made, such as [0.2]; none: one call draws an image",
    )
    fake_steps: PositiveInt = Field(
        1, description="steps of the fake score, if the loss asks it, for each of the generator"
    )
    generator: Annotated[OptimiserSettings, OPTIMISERS] = Field(
        default_factory=lambda: AdamSettings(learning_rate=2e-4, betas=(0.0, 0.999), decay="cosine"),
        description="how the generator learns",
    )
    fake: Annotated[OptimiserSettings, OPTIMISERS] = Field(
        default_factory=lambda: AdamSettings(learning_rate=6e-4, betas=(0.0, 0.999), decay="cosine"),
        description="how the fake score learns",
    )
    ema: EMASettings = Field(
        default_factory=EMASettings, description="moving average of the generator's weights, which is the student"
    )
    evaluate_every: PositiveInt | None = Field(None, description="images between proximal distances; null: at the end")
    evaluate_samples: int = Field(512, ge=2, description="generations behind each proximal distance")
    early_stopping: EarlyStoppingSettings | None = Field(
        default_factory=EarlyStoppingSettings, description="when a distillation counts as lost; null: never"
    )

    @model_validator(mode="after")
    def _critic_has_a_network(self) -> Self:
        if self.adversarial is not None and not self.loss.build().uses_fake:
            raise ValueError(
                f"adversarial: its critic is the fake score, and {self.loss.kind} trains none; use "
                "student.loss.kind: sid or dmd"
            )
        return self

    @property
    def few_steps(self) -> FewSteps:
        """How the generator's network is asked for an image."""
        return FewSteps(self.sigma_init, self.clip, self.skip, self.further_levels)


class StudentStage(Stage):
    """Distil ``teacher`` (frozen) into a generator.

    Fake score and generator start as copies of the teacher. The fake score is trained with the teacher's own objective
    on freshly corrupted generations, measurement noise included; the generator's loss sees ``A(G(z))`` without it.
    A loss that asks no fake score (SDS) gets the teacher in its place: none is held, trained or stored.
    The student is the averaged generator with the smallest proximal distance so far: no clean data chooses it.
    """

    name = "student"

    def __init__(
        self,
        settings: StudentSettings,
        teacher: Denoiser,
        objective: Objective,
        monitor: ProximalMonitor,
        seed: int,
        execution: Execution = SIMPLE,
        examples: Conditions | None = None,
    ) -> None:
        super().__init__(settings.images, settings.batch_size, settings.evaluate_every, execution)
        self.settings = settings
        self.objective = objective
        self.monitor = monitor
        self.examples = monitor.measurements if examples is None and monitor is not None else examples
        self.seed = seed
        self.loss = settings.loss.build()
        self.adversary = (
            None if settings.adversarial is None else Adversary(settings.adversarial, settings.loss, objective)
        )
        self.teacher = teacher.settled()
        self.fake = copy.deepcopy(teacher).requires_grad_(True) if self.loss.uses_fake else self.teacher
        self.generator = copy.deepcopy(teacher).requires_grad_(True)
        self.ema = EMA(self.generator, settings.ema)
        self.best = copy.deepcopy(teacher).requires_grad_(False)
        self.best_distance: float | None = None
        self.best_images = 0
        # SDS collapses by its nature, and is run to be measured.
        self.early_stopping = (
            EarlyStopping(settings.early_stopping)
            if settings.early_stopping is not None and self.loss.uses_fake
            else None
        )
        self._shapes: dict[torch.Size, torch.Size] = {}
        self.fake_optimiser = settings.fake.build(self.fake) if self.loss.uses_fake else None
        self.generator_optimiser = settings.generator.build(self.generator)

    def step(self, batch: Measurement, images: int, draws: Draws) -> dict[str, Tensor]:
        """Take ``fake_steps`` steps of the fake score, then one of the generator."""
        figures: dict[str, Tensor] = {}
        left_out = []
        if self.fake_optimiser is not None:
            for _ in range(self.settings.fake_steps):
                loss = self.accumulate(
                    "fake score", batch, draws, lambda microbatch: self._fake_losses(microbatch, draws)
                )
                loss = self.distribution.average_gradients(self.fake, loss)
                norm, skipped = take_step(self.fake, self.fake_optimiser, self.settings.fake, images, self.images)
                figures |= {"fake_loss": loss, "fake_gradient_norm": norm}
                left_out.append(skipped)

        adversary = self._heard(images)
        passes = "generator" if adversary is None else "generator and critic"
        loss = self.accumulate(
            passes, batch, draws, lambda microbatch: self._generator_losses(microbatch, draws, adversary)
        )
        loss = self.distribution.average_gradients(self.generator, loss)
        norm, skipped = take_step(
            self.generator, self.generator_optimiser, self.settings.generator, images, self.images
        )
        images_in_step = len(batch) * self.distribution.world_size
        self.ema.update(self.generator, images + images_in_step, images_in_step)
        skipped = torch.stack([*left_out, skipped]).amax()
        return figures | {"loss": loss, "gradient_norm": norm, "skipped": skipped}

    def _heard(self, images: int) -> Adversary | None:
        """Return the critic once the generator is to hear it; before, it has to learn what measurements look like."""
        if self.adversary is None or images < self.adversary.settings.start * self.images:
            return None
        return self.adversary

    def _generate(self, network: Denoiser, batch: Measurement, draws: Draws) -> Tensor:
        """Let ``network`` generate as many images as ``batch`` has, under fresh masks and coil maps drawn from it."""
        like = self.pick(batch, draws)
        view = self.objective.draw_view(like, draws)
        noise = draws.normal(*self._image_shape(batch))
        return self.settings.few_steps(network, view, noise)

    def _image_shape(self, batch: Measurement) -> tuple[int, ...]:
        """Return the shape of the batch's images in channels; the adjoint is asked once for each shape of data."""
        shape = batch.data.shape[1:]
        if shape not in self._shapes:
            self._shapes[shape] = to_channels(batch[:1].image()).shape[1:]
        return (len(batch), *self._shapes[shape])

    def _fake_losses(self, batch: Measurement, draws: Draws) -> Tensor:
        with torch.no_grad():
            images = self._generate(self.generator, batch, draws)
            measurement = corrupt_generation(self.objective.corruption, images, batch, draws)
        losses = self.learn(self.fake, self.objective, measurement, draws)
        if self.adversary is not None:
            losses = losses + self.adversary.critic_losses(self.fake, batch, measurement, draws)
        return losses

    def _generator_losses(self, batch: Measurement, draws: Draws, adversary: Adversary | None = None) -> Tensor:
        corruption = self.objective.corruption
        operator = corruption.draw(batch, draws)
        view = self.objective.show(self.objective.further(operator, draws))
        images = self._generate(self.generator.learning(draws), batch, draws)
        observed = self.objective.observe(images, operator)
        # The fake score is compared, not trained, here: without weight gradients its backward pass is cheaper.
        self.fake.requires_grad_(False)
        try:
            losses = self.loss(observed, view, self.teacher, self.fake, corruption.sigma, draws)
            if adversary is not None:
                generated = corrupt_generation(corruption, images, batch, draws)
                losses = losses + adversary.generator_losses(self.fake, generated, draws)
            return losses
        finally:
            self.fake.requires_grad_(self.fake_optimiser is not None)

    def networks(self) -> Mapping[str, nn.Module]:
        """Return generator, its average, the student (the best average so far) and, if there is one, the fake score."""
        networks = {"generator": self.generator, "generator_ema": self.ema.module, "student": self.best}
        return networks if self.fake_optimiser is None else networks | {"fake_score": self.fake}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the generator's, and the fake score's where there is one."""
        optimisers: dict[str, torch.optim.Optimizer] = {"generator": self.generator_optimiser}
        return optimisers if self.fake_optimiser is None else optimisers | {"fake_score": self.fake_optimiser}

    def extra_state(self) -> dict[str, float | int | None]:
        """Return what the choice of the student rests on."""
        watched = {} if self.early_stopping is None else self.early_stopping.state()
        return {"best_distance": self.best_distance, "best_images": self.best_images} | watched

    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what ``extra_state`` returned."""
        self.best_distance = state["best_distance"]
        self.best_images = int(state["best_images"] or 0)
        if self.early_stopping is not None:
            self.early_stopping.load_state(state)

    def draw(self, count: int) -> Tensor:
        """Draw ``count`` generations of the averaged generator; channels, on the CPU."""
        draw = student_draw(self.ema.module.settled(), self.settings.few_steps)
        return draw_images(draw, self.objective, self.monitor.measurements, count, self.seed, self.distribution)

    def evaluate(self, images: int) -> tuple[dict[str, float], Tensor]:
        """Measure the averaged generator, keep it as the student where it is the best so far, and watch for a loss."""
        samples = self.draw(self.settings.evaluate_samples)
        figures = {"proximal_fd": math.nan}
        if samples.isfinite().all():
            distance = self.monitor.distance(samples)
            if self.best_distance is None or distance < self.best_distance:
                self.best_distance, self.best_images = distance, images
                self.best.load_state_dict(self.ema.module.state_dict())
            figures = {"proximal_fd": distance, "best_proximal_fd": self.best_distance} | self._diagnose(samples)
        self.verdict = None if self.early_stopping is None else self.early_stopping.read(figures, images)
        return figures, samples

    def _diagnose(self, samples: Tensor) -> dict[str, float]:
        """Return the figures that say how the distillation is going."""
        diversity = self.monitor.diversity(samples)
        figures = {} if diversity is None else {"diversity": diversity}
        if self.fake_optimiser is None:
            return figures
        return figures | compare_scores(
            self.loss, self.objective, self.teacher, self.fake, samples, self.examples, self.seed
        )
