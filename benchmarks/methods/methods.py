"""The methods of the table: each turns a bench into an outcome. None but the oracle is trained on a clean image."""

from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.methods.adversarial import train_ambient_gan
from benchmarks.methods.bench import PLAIN, STEPS, Bench, continued, train_to_end
from benchmarks.methods.expectation import train_by_expectation
from benchmarks.methods.outcome import Outcome
from benchmarks.methods.wavelet import reconstruct_all
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.kinds import SAMPLERS
from rsd_med.evaluation.generation import student_draw, teacher_draw
from rsd_med.experiment import Experiment

Method = Callable[[Bench], Outcome]


def teacher_full(bench: Bench) -> Outcome:
    """Return the teacher's samples down to σ = 0."""
    return _diffusion(bench, bench.own, bench.teacher, "heun", bench.budget.teacher_images, "teacher")


def teacher_truncated(bench: Bench) -> Outcome:
    """Return what the teacher makes of its state at the noise of the data (arXiv 2404.10177)."""
    return _diffusion(bench, bench.own, bench.teacher, "truncated", bench.budget.teacher_images, "teacher")


def teacher_consistency(bench: Bench) -> Outcome:
    """Return full samples of the teacher after fine-tuning with the consistency loss (arXiv 2404.10177)."""
    images = bench.budget.teacher_images // 4
    objective = bench.task.objective | {"consistency": {}}
    rate = {"learning_rate": 2e-4, "decay": "cosine"}
    changes = {"teacher.objective": objective, "teacher.images": images, "teacher.optimiser": rate}
    experiment, run = bench.experiment("consistency", changes)
    denoiser = train_to_end(experiment, run, "teacher", partial(continued, experiment, bench.teacher))
    total = bench.budget.teacher_images + images
    return _diffusion(bench, experiment, denoiser, "heun", total, "teacher", "consistency")


def oracle(bench: Bench) -> Outcome:
    """Return samples of EDM trained on the clean images: what the corrupted data would allow at best."""
    return _plain_edm(bench, "oracle", bench.clean_source("train"))


def wavelet_edm(bench: Bench) -> Outcome:
    """Return samples of EDM trained on L1-wavelet reconstructions (L1-EDM, arXiv 2403.08728)."""
    return _plain_edm(bench, "l1_wavelet_edm", {"kind": "arrays", "root": str(reconstruct_all(bench)), "scale": 1.0})


def student(loss: dict[str, Any]) -> Method:
    """Return the method that distils the teacher with ``loss``."""

    def distil(bench: Bench) -> Outcome:
        name = loss["kind"]
        teacher = bench.teacher
        experiment, run = bench.experiment(name, {"student.loss": loss})
        build = partial(experiment.student_stage, teacher)
        best = train_to_end(experiment, run, "student", build, bench.budget.teacher_images)
        return Outcome(
            student_draw(best, experiment.protocol.student.few_steps),
            experiment,
            1,
            bench.budget.teacher_images + bench.student_images,
            bench.seconds("teacher", name),
        )

    return distil


def ambient_gan(bench: Bench) -> Outcome:
    """Return samples of a generator whose corrupted images a critic takes for measurements (AmbientGAN, ICLR 2018)."""
    experiment, generator, seconds = train_ambient_gan(bench)
    draw = student_draw(generator, experiment.protocol.student.few_steps)
    return Outcome(draw, experiment, 1, bench.budget.gan_images, seconds)


def expectation_maximisation(bench: Bench) -> Outcome:
    """Return samples of the prior that posterior sampling and retraining settle on (arXiv 2405.13712)."""
    experiment, denoiser, images, names = train_by_expectation(bench)
    return _diffusion(bench, experiment, denoiser, "heun", images, *names)


def _plain_edm(bench: Bench, name: str, data: dict[str, Any]) -> Outcome:
    experiment, run = bench.experiment(name, PLAIN | {"data": data})
    denoiser = train_to_end(experiment, run, "teacher", experiment.teacher_stage)
    return _diffusion(bench, experiment, denoiser, "heun", bench.budget.teacher_images, name)


def _diffusion(
    bench: Bench, experiment: Experiment, denoiser: Denoiser, kind: str, images: int, *trainings: str
) -> Outcome:
    sampler = SAMPLERS[kind].model_validate({"steps": STEPS})
    sigma = experiment.objective.corruption.sigma
    draw = teacher_draw(denoiser, sampler, sigma)
    return Outcome(draw, experiment, sampler.calls(sigma), images, bench.seconds(*trainings))


METHODS: dict[str, Method] = {
    "oracle": oracle,
    "teacher_full": teacher_full,
    "teacher_truncated": teacher_truncated,
    "teacher_consistency": teacher_consistency,
    "sid": student({"kind": "sid"}),
    "dmd": student({"kind": "dmd"}),
    "sds": student({"kind": "sds"}),
    "ambient_gan": ambient_gan,
    "em": expectation_maximisation,
    "l1_wavelet_edm": wavelet_edm,
}

TEACHERS = ("teacher_full", "teacher_truncated", "teacher_consistency")


def applies(method: str, bench: Bench) -> bool:
    """Whether a method makes sense for a task."""
    noisy = bench.task.objective["kind"] == "ambient_tweedie"
    if method in ("teacher_truncated", "teacher_consistency"):
        return noisy
    if method == "l1_wavelet_edm":
        return bench.task.complex_images
    return True
