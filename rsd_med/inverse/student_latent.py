"""The student as a prior: search its latents for an image that explains the measurement (Bora et al. 2017)."""

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import PriorSolver, PriorSolverSettings, Progress, repeat, sample_generators
from rsd_med.inverse.proximal import guess_variance, posterior_draws
from rsd_med.inverse.student import LatentSearch, StudentGenerator, draw_latents


class StudentLatent(PriorSolver):
    """Gradient descent through the generator."""

    settings: "StudentLatentSettings"

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Search from every start at once."""
        self.prior.check(measurement)
        generators = sample_generators(self.settings.samples, generator)
        generate = StudentGenerator(self.prior, self.prior.training_view(measurement, generators))
        like = repeat(measurement, len(generators))
        search = LatentSearch(draw_latents(measurement, self.prior, generators), self.settings.rate)

        def misfit(latents: Tensor) -> Tensor:
            image = generate(latents)
            energy = (like.data - like.operator(image)).abs().square().flatten(1).sum(1)
            noise2 = like.sigma.square() + guess_variance(image.detach(), like).mean((-3, -2, -1))
            return (energy / (2 * noise2)).sum()

        for step in range(self.settings.steps):
            search.step(misfit)
            progress((step + 1) / self.settings.steps)
        with torch.no_grad():
            image = generate(search.found)
        if not self.settings.correct:
            return image
        return posterior_draws(image, guess_variance(image, like), like, generators)


class StudentLatentSettings(PriorSolverSettings):
    """``argmin_z ‖A G(z) − y‖² / (2 (σ² + τ²)) + ½ ‖z‖²`` from several starts, each of which gives a sample.

    τ² stands for what no generation can show, and is estimated from the residual as it falls.
    """

    solver = StudentLatent
    needs = "student"

    kind: Literal["student_latent"] = "student_latent"
    samples: PositiveInt = Field(8, description="starts of the search, each of which gives a sample")
    steps: PositiveInt = Field(20, description="steps of the search; a network call with its gradient each")
    rate: float = Field(0.02, gt=0, description="Adam's step length on the latents")
    correct: bool = Field(True, description="end with the image nearest to G(z) that explains the data")
