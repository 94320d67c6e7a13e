"""An adversarial term on measurements (SiDA, arXiv 2410.14919; AmbientGAN, ICLR 2018): no clean image is asked for."""

from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from rsd_med.base.draws import Draws
from rsd_med.base.settings import Settings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.students.base import LossSettings
from rsd_med.teachers.base import Objective


class AdversarialSettings(Settings):
    """A critic beside the loss: it tells measurements from corrupted generations."""

    weight: float = Field(0.1, gt=0, description="weight in the generator's loss, summed over the numbers of an image")
    critic_weight: float = Field(0.1, gt=0, description="weight of the critic's own loss beside the fake score's")
    start: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="share of the stage after which the generator hears the critic, which learns from the start",
    )


class Adversary:
    """The critic is the first half of the fake score, and has no weight of its own.

    It sees a measurement as the fake score does, at a noise level σ_t and through Ã. The mean over the features of
    the network's middle is its judgement of each place: positive where it looks measured. With ``l`` for it,

        critic:     mean over places of  softplus(−l(y_t)) + softplus(l(y'_t)),
        generator:  mean over places of  softplus(−l(y'_t)),

    where y is measured and ``y' = A(G(z)) + σε``, with a fresh A. Both have the same law if, and for operators that
    AmbientGAN's theorem covers only if, G(z) has the law of the clean images. So what the teacher has got wrong can be
    learned from the measurements themselves.

    Both losses are multiplied by the numbers of an image, like the others, which are sums over them.

    Parameters
    ----------
    settings
        Weights.
    levels
        The loss beside it, which draws σ_t.
    objective
        How the networks are shown measurements.
    """

    def __init__(self, settings: AdversarialSettings, levels: LossSettings, objective: Objective) -> None:
        self.settings = settings
        self.levels = levels
        self.objective = objective

    def judge(self, fake: Denoiser, measurement: Measurement, draws: Draws) -> Float[Tensor, "b places"]:
        """Return the logit of each place of measurements at levels of their own: positive for measured."""
        sigma = self.levels.draw_levels(len(measurement), self.objective.corruption.sigma, draws)
        further = self.objective.further(measurement.operator, draws)
        noisy = self.objective.noised(measurement, further, sigma, draws)
        return fake.features(noisy, sigma, self.objective.show(further).context).mean(1).flatten(1)

    def critic_losses(
        self, fake: Denoiser, measured: Measurement, generated: Measurement, draws: Draws
    ) -> Float[Tensor, " b"]:
        """Return the critic's loss of each item, ``(b,)``; its gradient is for the weights of ``fake``.

        Parameters
        ----------
        fake
            The fake score.
        measured, generated
            As many of each.
        draws
            For levels, noise and Ã.
        """
        real = functional.softplus(-self.judge(fake, measured, draws)).mean(1)
        false = functional.softplus(self.judge(fake, generated, draws)).mean(1)
        return self.settings.critic_weight * numbers_of_an_image(generated) * (real + false)

    def generator_losses(self, fake: Denoiser, generated: Measurement, draws: Draws) -> Float[Tensor, " b"]:
        """Return the generator's loss of each item, ``(b,)``, from measurements of its images, with gradient."""
        losses = functional.softplus(-self.judge(fake, generated, draws)).mean(1)
        return self.settings.weight * numbers_of_an_image(generated) * losses


def numbers_of_an_image(measurement: Measurement) -> int:
    """Count the real numbers of an image of a measurement."""
    height, width = measurement.size
    channels = 2 if measurement.operator.complex_domain or measurement.data.is_complex() else measurement.data.shape[1]
    return channels * height * width
