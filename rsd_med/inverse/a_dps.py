"""A-DPS: diffusion posterior sampling with an ambient teacher (Aali et al. 2024, arXiv 2403.08728)."""

from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.schedules import karras_levels
from rsd_med.diffusion.view import View
from rsd_med.inverse.base import PriorSolver, PriorSolverSettings, Progress, repeat, sample_generators
from rsd_med.inverse.proximal import data_proximal, data_score, guess_variance, posterior_draws
from rsd_med.operators.channels import to_channels, to_complex

Guidance = Literal["proximal", "likelihood", "published"]


class ADPS(PriorSolver):
    """Euler steps from σ_max over σ_min to 0; returns the last state."""

    settings: "ADPSSettings"

    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Draw the samples, ``batch`` at a time."""
        self.prior.check(measurement)
        settings = self.settings
        generators = sample_generators(settings.samples, generator)
        samples = []
        # Perturbations come in pairs, which batches must not part.
        batch = settings.batch + settings.batch % 2
        for start in range(0, settings.samples, batch):
            streams = generators[start : start + batch]
            done, share = start / settings.samples, len(streams) / settings.samples
            samples.append(self._walk(measurement, streams, partial(_within, progress, done, share)))
        return torch.cat(samples)

    def _walk(self, measurement: Measurement, generators: list[Draws], progress: Progress) -> Tensor:
        settings = self.settings
        like = repeat(measurement, len(generators))
        # One further mask for each sample, held for the whole walk.
        view = self.prior.training_view(measurement, generators)
        sets, device = measurement.operator.sets, measurement.data.device
        shape = (2, *measurement.size)
        noise = torch.stack([g.normal(sets, *shape) for g in generators]).flatten(0, 1).to(device)
        levels = karras_levels(settings.steps, settings.sigma_min, settings.sigma_max, device=device)
        x = levels[0] * noise
        for number, (here, there) in enumerate(pairwise(levels)):
            if there == 0 and settings.guidance != "published":
                image = _together(self._estimate(x, float(here), view), like)
                return posterior_draws(image, self._variance(image, float(here), like), like, generators)
            x = self._step(x, float(here), float(there), view, like)
            progress((number + 1) / settings.steps)
        return _together(x, like)

    @torch.no_grad()
    def _estimate(self, x: Tensor, sigma: float, view: View) -> Tensor:
        return view.denoise(self.prior.denoiser, x, torch.full((len(x),), sigma, device=x.device))

    def _step(self, x: Tensor, here: float, there: float, view: View, like: Measurement) -> Tensor:
        """Take one Euler step from level ``here`` to level ``there``."""
        if self.settings.guidance == "proximal":
            image = _together(self._estimate(x, here, view), like)
            estimate = _apart(data_proximal(image, self._variance(image, here, like), like))
            return estimate + there / here * (x - estimate)
        x = x.detach().requires_grad_(True)
        estimate = view.denoise(self.prior.denoiser, x, torch.full((len(x),), here, device=x.device))
        image = _together(estimate, like)
        if self.settings.guidance == "published":
            misfit = (like.data - like.operator(image)).flatten(1).norm(dim=1)
            (gradient,) = torch.autograd.grad(misfit.sum(), x)
            # ∇‖r‖² / ‖r‖ = 2 ∇‖r‖
            pull = -2 * self.settings.strength * gradient
        else:
            image = image.detach()
            score = data_score(image, self._variance(image, here, like), like)
            (gradient,) = torch.autograd.grad(estimate, x, grad_outputs=_apart(score))
            pull = (here - there) * here * gradient
        x, estimate = x.detach(), estimate.detach()
        return estimate + there / here * (x - estimate) + pull

    def _variance(self, image: Tensor, sigma: float, like: Measurement) -> Tensor:
        """Return τ² ``(b, 1, 1, 1)`` of the estimate ``image`` at level ``sigma``."""
        if self.settings.image_std is None:
            return guess_variance(image, like)
        v = self.settings.image_std**2
        return torch.full((len(image), 1, 1, 1), sigma**2 * v / (sigma**2 + v), device=image.device)


class ADPSSettings(PriorSolverSettings):
    """Walk down the noise levels along the posterior's probability flow.

    Given the state at level σ, the clean image is taken as normal around the teacher's estimate D with variance τ², so
    that y is normal around ``A D`` with covariance ``σ_y² + τ² A A^H`` (Song et al. 2023, pseudoinverse guidance).

    ``proximal`` puts the mean of x given D and y in D's place; nothing is differentiated.
    ``likelihood`` adds the gradient of ln p(y | state), through the network, to the score.
    ``published`` moves by ``ℓ ∇‖y − A D‖² / ‖y − A D‖``, as A-DPS was published, with ℓ = ``strength``.

    An ambient teacher sees only ``Ã^H Ã x``, so its estimate errs however small σ is. τ² is therefore estimated from
    the residual itself, and the walk ends (σ_min) where the noise drops below that error. From there the step to σ = 0,
    the last one, draws from the normal law of x given D and y: without it, samples would differ far less than they err.
    The published guidance takes a plain Euler step instead. Either way the *last* state is returned.
    """

    solver = ADPS
    takes_sets = True

    kind: Literal["a_dps"] = "a_dps"
    steps: PositiveInt = Field(20, description="noise levels, a network call each; 300 with published guidance")
    sigma_max: float = Field(10.0, gt=0, description="first level")
    sigma_min: float = Field(0.2, gt=0, description="last level before 0; 0.004 with published guidance")
    guidance: Guidance = Field("proximal", description="how the measurement pulls")
    strength: float = Field(1.0, ge=0, description="ℓ of the published guidance")
    image_std: float | None = Field(
        None, gt=0, description="√v: take τ² = σ² v / (σ² + v), exact for white Gaussian images; null: measure τ²"
    )
    batch: PositiveInt = Field(8, description="samples that share a network call")


def _apart(images: Tensor) -> Tensor:
    """Return the parts of images ``(b, set, y, x)`` as channels of items of their own, ``(b set, 2, y, x)``."""
    return to_channels(images.flatten(0, 1)[:, None])


def _together(channels: Tensor, like: Measurement) -> Tensor:
    """Return the images of which these are the parts: the reverse of `_apart`."""
    return to_complex(channels).unflatten(0, (-1, like.operator.sets)).squeeze(2)


def _within(progress: Progress, start: float, share: float, fraction: float) -> None:
    """Report a part of one batch as a part of the whole."""
    progress(start + share * fraction)
