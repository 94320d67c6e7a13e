"""How much of everything: one budget for all methods."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Images and samples.

    Attributes
    ----------
    teacher_images, student_images
        Length of the two stages. Every diffusion model of the table is as long as the teacher.
    gan_images
        Length of AmbientGAN: what takes the processor as long as teacher and student together.
    laps, lap_images
        EM's repetitions, and the posterior samples and training images of each.
    samples
        Behind every distance.
    channels, attention
        Of the one backbone.
    side
        Of the images; None for each task's own.
    labelled
        Whether a classifier is trained for a second opinion.
    clip
        Whether what students draw ends at black and white while they learn.
    """

    teacher_images: int = 40_000
    student_images: int = 16_000
    gan_images: int = 60_000
    laps: int = 2
    lap_images: int = 3_000
    samples: int = 2000
    channels: tuple[int, ...] = (16, 32, 48)
    attention: tuple[bool, ...] = (False, False, True)
    side: int | None = None
    labelled: bool = True
    clip: bool = True


FULL = Budget()
QUICK = Budget(
    teacher_images=96,
    student_images=64,
    gan_images=64,
    laps=1,
    lap_images=64,
    samples=192,
    channels=(8, 16),
    attention=(False, False),
    side=16,
    labelled=False,
)
