"""The student as the proximal step of a plug-and-play scheme (Venkatakrishnan et al. 2013)."""

from typing import Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.base import PriorSolver, PriorSolverSettings, Progress, repeat, sample_generators
from rsd_med.inverse.proximal import data_proximal, guess_variance, posterior_draws
from rsd_med.inverse.student import LatentSearch, StudentGenerator, draw_latents


class StudentPnP(PriorSolver):
    """Alternate between data and student."""

    settings: "StudentPnPSettings"

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Run all starts at once; the last turn ends with the data."""
        self.prior.check(measurement)
        settings = self.settings
        generators = sample_generators(settings.samples, generator)
        generate = StudentGenerator(self.prior, self.prior.training_view(measurement, generators))
        like = repeat(measurement, len(generators))
        search = LatentSearch(draw_latents(measurement, self.prior, generators), settings.rate)
        for turn in range(settings.iterations):
            with torch.no_grad():
                guess = generate(search.found)
            variance = guess_variance(guess, like)
            progress(turn / settings.iterations)
            if turn == settings.iterations - 1:
                break
            image = data_proximal(guess, variance, like)

            def misfit(latents: Tensor, goal: Tensor = image, variance: Tensor = variance) -> Tensor:
                return ((generate(latents) - goal).abs().square() / (2 * variance)).sum()

            for _ in range(settings.steps):
                search.step(misfit)
        return posterior_draws(guess, variance, like, generators)


class StudentPnPSettings(PriorSolverSettings):
    """Half-quadratic splitting: a generation ``G(z)``, the image nearest to it that explains the data, and so on.

    The data step is solved by conjugate gradients, the student's step by a few gradient steps on z: the physics never
    passes through the network, and the network never through the physics.
    """

    solver = StudentPnP
    needs = "student"

    kind: Literal["student_pnp"] = "student_pnp"
    samples: PositiveInt = Field(8, description="starts of the search, each of which gives a sample")
    iterations: PositiveInt = Field(6, description="turns")
    steps: NonNegativeInt = Field(2, description="gradient steps on z in each turn")
    rate: float = Field(0.03, gt=0, description="Adam's step length on the latents")
