"""The teacher: one denoiser trained with a corruption-aware objective on the measurements."""

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import SamplerSettings
from rsd_med.evaluation.generation import draw_images, teacher_draw
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.teachers.base import Objective, ObjectiveSettings
from rsd_med.teachers.kinds import OBJECTIVES
from rsd_med.training.adam import AdamSettings
from rsd_med.training.ema import EMA
from rsd_med.training.kinds import OPTIMISERS
from rsd_med.training.optim import OptimiserSettings, take_step
from rsd_med.training.settings import EMASettings
from rsd_med.training.stage import SIMPLE, Execution, Stage


class TeacherSettings(Settings):
    """Phase I: the corruption-aware teacher."""

    objective: Annotated[ObjectiveSettings, OBJECTIVES] = Field(description="what is learned from the measurements")
    images: PositiveInt = Field(description="length of the stage, in images")
    batch_size: PositiveInt = Field(32, description="images in a step")
    optimiser: Annotated[OptimiserSettings, OPTIMISERS] = Field(
        default_factory=AdamSettings, description="how the network learns"
    )
    ema: EMASettings = Field(
        default_factory=EMASettings, description="moving average of the weights, which is the teacher"
    )
    evaluate_every: PositiveInt | None = Field(None, description="images between proximal distances; null: at the end")
    evaluate_samples: int = Field(256, ge=2, description="samples behind each proximal distance")


class TeacherStage(Stage):
    """Train ``denoiser`` with ``objective``; the average of its weights is the teacher."""

    name = "teacher"

    def __init__(
        self,
        settings: TeacherSettings,
        denoiser: Denoiser,
        objective: Objective,
        sampler: SamplerSettings,
        monitor: ProximalMonitor,
        seed: int,
        execution: Execution = SIMPLE,
    ) -> None:
        super().__init__(settings.images, settings.batch_size, settings.evaluate_every, execution)
        self.settings = settings
        self.denoiser = denoiser
        self.objective = objective
        self.sampler = sampler
        self.monitor = monitor
        self.seed = seed
        self.ema = EMA(denoiser, settings.ema)
        self.optimiser = settings.optimiser.build(denoiser)

    def step(self, batch: Measurement, images: int, draws: Draws) -> dict[str, Tensor]:
        """Take one step on measurements."""
        loss = self.accumulate(
            "teacher", batch, draws, lambda microbatch: self.learn(self.denoiser, self.objective, microbatch, draws)
        )
        loss = self.distribution.average_gradients(self.denoiser, loss)
        norm, skipped = take_step(self.denoiser, self.optimiser, self.settings.optimiser, images, self.images)
        images_in_step = len(batch) * self.distribution.world_size
        self.ema.update(self.denoiser, images + images_in_step, images_in_step)
        return {"loss": loss, "gradient_norm": norm, "skipped": skipped}

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the trained network and its average."""
        return {"teacher_online": self.denoiser, "teacher": self.ema.module}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the one optimiser."""
        return {"teacher_online": self.optimiser}

    def extra_state(self) -> dict[str, float | int | None]:
        """Return nothing: weights and optimiser are all there is."""
        return {}

    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take nothing back."""

    def draw(self, count: int) -> Tensor:
        """Draw ``count`` samples of the averaged teacher with its first sampler; channels, on the CPU."""
        draw = teacher_draw(self.ema.module.settled(), self.sampler, self.objective.corruption.sigma)
        return draw_images(draw, self.objective, self.monitor.measurements, count, self.seed, self.distribution)

    def evaluate(self, images: int) -> tuple[dict[str, float], Tensor]:
        """Return the proximal distance of the teacher's samples, and the samples."""
        samples = self.draw(self.settings.evaluate_samples)
        return {"proximal_fd": self.monitor.distance(samples)}, samples
