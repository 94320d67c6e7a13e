"""The main job: teacher, student, evaluation and report, from the start or from where it stopped."""

import json
import time
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from rsd_med.base.errors import DataError, DivergedError, InterruptedRunError
from rsd_med.base.files import write_text
from rsd_med.completion import complete, reconstructor_of
from rsd_med.corruptions.noise_level import NoiseLevelSettings
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.evaluation.audit import audit_memorisation
from rsd_med.evaluation.evaluation import evaluate_models
from rsd_med.evaluation.floor import clean_images, measure_floor, share_images
from rsd_med.evaluation.reconstruction import evaluate_reconstructor
from rsd_med.experiment import Experiment
from rsd_med.opened_run import completing, finished, newest_checkpoint
from rsd_med.operators.channels import to_channels
from rsd_med.prior import amortised_of
from rsd_med.protocol import StageName
from rsd_med.reporting.model_card import write_model_card
from rsd_med.reporting.noise_level import describe_noise_level, noise_level_doubts
from rsd_med.reporting.record import read_run
from rsd_med.reporting.report import build_report
from rsd_med.reporting.verdict import verdict
from rsd_med.runs.checkpoints import Checkpoint
from rsd_med.runs.grids import GALLERY, save_gallery, save_grid
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.run_logger import RunLogger, SilentRunLogger
from rsd_med.runs.sampling_operators import save_sampling_operators
from rsd_med.runs.tracking import Tracker
from rsd_med.training.autotune import LEAST_STEPS, fastest, save_autotune, supported
from rsd_med.training.loop import Loop
from rsd_med.training.signals import StopRequest
from rsd_med.training.stage import Stage

Stages = Literal[StageName, "all"]


def train(
    experiment: Experiment, run: RunFolder, stages: Stages, resume_from: Checkpoint | None, command: str, quiet: bool
) -> None:
    """Carry out ``stages`` of an experiment and leave a filled run folder.

    Parameters
    ----------
    experiment
        What to do.
    run
        Where; already created.
    stages
        A stage other than the first needs those before it finished in the run (`Protocol.stages`).
    resume_from
        Checkpoint to go on from, of either stage; None to start.
    command
        The command line, for the report.
    quiet
        Print warnings alone.

    Raises
    ------
    RsdMedError
        With the exit code of the command line contract; ``status.json`` says the same.
    """
    if not experiment.distribution.is_main:
        with StopRequest() as stop:
            _carry_out(experiment, run, stages, resume_from, command, SilentRunLogger(), stop)
        return
    began = time.monotonic()
    with RunLogger(run, quiet, _tracker(experiment, run)) as run_logger, StopRequest() as stop:
        run.set_status("running", command=command)
        try:
            save_sampling_operators(run.sampling_operators, experiment.measurements)
            _save_measurements(experiment, run)
            _say_noise_level(experiment, run_logger)
            _carry_out(experiment, run, stages, resume_from, command, run_logger, stop)
        except (InterruptedRunError, KeyboardInterrupt):
            run.set_status("interrupted", command=command, seconds=time.monotonic() - began)
            _try_report(run, run_logger)
            raise
        except DivergedError as error:
            run.set_status("diverged", command=command, reason=str(error))
            _try_report(run, run_logger)
            raise
        except Exception as error:
            run.set_status("failed", command=command, reason=str(error))
            raise
        run.set_status("done", command=command, seconds=time.monotonic() - began)
        build_report(run)
        write_model_card(run)
        run_logger.say(f"Done in {time.monotonic() - began:.0f} s. Open {run.report}")


def _tracker(experiment: Experiment, run: RunFolder) -> Tracker | None:
    protocol = experiment.protocol
    if protocol.engine.mlflow is None:
        return None
    return Tracker(protocol.engine.mlflow, run.path, protocol.name, protocol.model_dump(mode="json"))


def _carry_out(
    experiment: Experiment,
    run: RunFolder,
    stages: Stages,
    resume_from: Checkpoint | None,
    command: str,
    run_logger: RunLogger,
    stop: StopRequest,
) -> None:
    """Do what every rank does."""
    _tune(experiment, run, resume_from, run_logger)
    loop = _loop(experiment, run, run_logger, stop)
    for name in experiment.protocol.stages:
        if stages in (name, "all") and not _is_done(experiment, name, resume_from):
            start = resume_from if resume_from is not None and resume_from.stage == name else None
            loop.over(_examples(experiment, run, name, stop)).drive(
                _build_stage(experiment, run, name), _images_before(experiment, run, name), start
            )
    with stop.at_once():  # all that was trained is saved
        evaluate(experiment, run, run_logger, command, generative=stages != "reconstructor")


def _tune(experiment: Experiment, run: RunFolder, resume_from: Checkpoint | None, run_logger: RunLogger) -> None:
    """Find how to compute the networks, once for a run: one that goes on keeps what it began with."""
    distribution, teacher = experiment.distribution, experiment.protocol.teacher
    if not distribution.agree(int(distribution.is_main and not run.autotune.exists())):
        return
    trials = []
    if resume_from is None and teacher.images >= LEAST_STEPS * teacher.batch_size:
        run_logger.say("trying in which way the networks are computed fastest")
        trials = experiment.time_compute_options()
    if distribution.is_main:
        protocol = experiment.protocol
        untried = supported(protocol.diffusion.precision, protocol.engine, experiment.device)
        compute_options = fastest(trials) if trials else untried
        save_autotune(run.autotune, experiment.device, compute_options, trials)
        tried = ", ".join(f"{trial.compute_options} {trial.seconds:.3g} s" for trial in trials)
        run_logger.say(f"networks: {compute_options}" + (f" (tried for a batch: {tried})" if tried else ""))
    distribution.wait()


def evaluate(
    experiment: Experiment, run: RunFolder, run_logger: RunLogger, command: str, *, generative: bool = True
) -> dict[str, Any]:
    """Measure what the run has learned; rank 0 writes ``metrics.json`` and the gallery of the report.

    Parameters
    ----------
    experiment, run, run_logger
        The run.
    command
        The command line, for the report.
    generative
        Whether teacher and student are measured; if not, their figures stay as they are.
    """
    began = time.monotonic()
    settings = experiment.protocol.evaluation
    metrics: dict[str, Any] = {} if generative or not run.metrics.exists() else json.loads(run.metrics.read_text())
    samples: Mapping[str, Tensor] = {}
    if generative and run.checkpoints.newest("teacher")[0] is not None:
        run_logger.say(f"evaluating on {settings.num_samples} samples of each model")
        teacher, student = load_models(experiment, run)
        metrics, samples = evaluate_models(
            experiment.evaluator(), teacher, settings.samplers, student, experiment.protocol.student.few_steps
        )
    if not experiment.distribution.is_main:
        return metrics
    metrics |= _reconstruction(experiment, run)
    gallery = run.samples / "gallery"
    for name, images in samples.items():
        save_gallery(gallery, name, images)
    if experiment.reference is not None:
        save_gallery(gallery, "reference", experiment.reference)
    if samples:
        metrics |= {"floor": _floor(experiment)} | _audit(experiment, run, run_logger, samples)
    seconds = run.read_seconds() | {"evaluation": time.monotonic() - began}
    corruption = experiment.protocol.corruption
    if isinstance(corruption, NoiseLevelSettings) and corruption.estimated is not None:
        metrics["noise_level"] = {"sigma": corruption.level} | corruption.estimated.model_dump()
    metrics |= {"command": command, "seconds": seconds, "num_measurements": len(experiment.dataset)}
    write_text(run.metrics, json.dumps(metrics, indent=2))
    models = {f"teacher.{name}": figures for name, figures in metrics.get("teacher", {}).items()}
    models |= {"student": metrics["student"]} if "student" in metrics else {}
    models |= {f"reconstruction.{name}": figures for name, figures in metrics.get("reconstruction", {}).items()}
    run_logger.conclude(models, experiment.protocol.teacher.images + experiment.protocol.student.images)
    _say_figures(run, run_logger)
    return metrics


def _say_figures(run: RunFolder, run_logger: RunLogger) -> None:
    """Say what came out: real images first, which no model can be better than, then the models, then in words."""
    record = read_run(run)
    for name, figures in record.real_and_models().items():
        written = ", ".join(f"{key} {value:.4g}" for key, value in figures.items() if isinstance(value, float | int))
        run_logger.say(f"{name}: {written}")
    for name, figures in record.reconstruction().items():
        run_logger.say(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures.items()))
    if record.models():
        run_logger.say(verdict(record))


def _reconstruction(experiment: Experiment, run: RunFolder) -> dict[str, Any]:
    """Hold the reconstructor against methods without a prior, where there is one and scans of known images."""
    checkpoint, _ = run.checkpoints.newest("reconstructor")
    if checkpoint is None or experiment.reference_data is None:
        return {}
    trained = amortised_of(experiment, experiment.load_reconstructor(checkpoint).settled())
    clean, indices = experiment.reference_data
    seed = experiment.protocol.seed
    return {"reconstruction": evaluate_reconstructor(trained, clean, indices, experiment.measurements, seed)}


def _floor(experiment: Experiment) -> dict[str, Any] | None:
    """Measure real images against the reference, now that all is trained and chosen; None without enough of them."""
    if experiment.clean_reference is None or experiment.reference_data is None:
        return None
    clean, indices = experiment.reference_data
    place = {index: number for number, index in enumerate(indices)}
    stacks = [[place[index] for index in stack if index in place] for stack in clean.source.stacks()]
    training = _clean_training_images(experiment, experiment.clean_reference.images)
    return measure_floor(experiment.clean_reference, training, stacks, experiment.protocol.evaluation.num_samples)


def _clean_training_images(experiment: Experiment, reference: Tensor) -> Tensor | None:
    """Read clean images of the training data, if they are of the reference's kind and not those of the reference."""
    protocol = experiment.protocol
    settings, data = protocol.evaluation.reference, protocol.data
    noisy_files = getattr(protocol.corruption, "simulate", True) is False
    if settings is None or settings.kind != data.kind or settings == data or noisy_files:
        return None
    count = protocol.evaluation.num_samples
    images = clean_images(experiment.dataset, experiment.main_group, count, protocol.seed)
    return None if images is None or share_images(images, reference) else images


def _audit(
    experiment: Experiment, run: RunFolder, run_logger: RunLogger, samples: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Search the training set for what the student has drawn, or the teacher's first sampler without a student."""
    settings, protocol = experiment.protocol.evaluation, experiment.protocol
    if not settings.audited_samples:
        return {}
    model = "student" if "student" in samples else next(iter(samples))
    run_logger.say(f"searching {len(experiment.main_group):,} training measurements for what the {model} has drawn")
    result = audit_memorisation(
        samples[model][: settings.audited_samples],
        experiment.reference,
        experiment.dataset,
        experiment.main_group,
        experiment.corruption,
        protocol.seed,
        reference_is_training=settings.reference == protocol.data,
    )
    if result is None:
        run_logger.say("too few training measurements to be searched for copies", warning=True)
        return {}
    for name, images in result.pictures.items():
        save_gallery(run.samples / "audit", name, images)
    return {"memorisation": {"model": model, "baseline": result.baseline, **result.figures}}


def load_models(experiment: Experiment, run: RunFolder) -> tuple[Denoiser, Denoiser | None]:
    """Load the teacher, and the student where there is one, from the newest checkpoints of a run, to be asked."""
    teacher = experiment.load_network(newest_checkpoint(run, "teacher"), "teacher").settled()
    checkpoint, _ = run.checkpoints.newest("student")
    return teacher, None if checkpoint is None else experiment.load_network(checkpoint, "student").settled()


def _loop(experiment: Experiment, run: RunFolder, run_logger: RunLogger, stop: StopRequest) -> Loop:
    evaluator = experiment.evaluator()

    def keep_samples(stage: Stage, images: int, samples: Tensor) -> dict[str, float]:
        if experiment.distribution.is_main:
            save_grid(samples[:GALLERY], run.samples / f"{stage.name}_{images:010d}.png")
        # For the curve of the report alone: what is kept is chosen by the proximal distance.
        return evaluator.against_reference(samples) if stage.generates else {}

    return Loop(
        experiment.dataset,
        experiment.protocol.engine,
        run,
        run_logger,
        experiment.protocol.seed,
        experiment.device,
        stop,
        keep_samples,
        experiment.distribution,
    )


def _say_noise_level(experiment: Experiment, run_logger: RunLogger) -> None:
    corruption = experiment.protocol.corruption.model_dump()
    sentence = describe_noise_level(corruption)
    if sentence is not None:
        run_logger.say(sentence)
    for doubt in noise_level_doubts(corruption):
        run_logger.say(doubt, warning=True)


def _save_measurements(experiment: Experiment, run: RunFolder) -> None:
    images = to_channels(experiment.measurements[:GALLERY].image())
    save_gallery(run.samples / "gallery", "measurements", images)


def _is_done(experiment: Experiment, name: StageName, resume_from: Checkpoint | None) -> bool:
    """Say whether the run that is gone on with has this stage behind it."""
    if resume_from is None:
        return False
    order = experiment.protocol.stages
    here, there = order.index(name), order.index(resume_from.stage)
    return there > here or (there == here and resume_from.finished)


def _images_before(experiment: Experiment, run: RunFolder, name: StageName) -> int:
    """Return the images of all stages before: checkpoints are named by the total.

    A stage's last batch may have gone past the images asked for, and its checkpoint is named by what it saw.
    """
    order = experiment.protocol.stages
    before = [run.checkpoints.newest(stage)[0] for stage in order[: order.index(name)]]
    return max((int(checkpoint.folder.name) for checkpoint in before if checkpoint is not None), default=0)


def _examples(experiment: Experiment, run: RunFolder, name: StageName, stop: StopRequest) -> MeasurementDataset:
    """Return what a stage learns from; scans are completed now where it learns from those."""
    if name == "reconstructor":
        return experiment.reconstructor_dataset
    if experiment.protocol.teacher.objective.completes:
        other, checkpoint = completing(experiment, run)
        network = other.load_reconstructor(checkpoint).settled()
        seal = checkpoint.sha256("reconstructor")
        before = [stage for stage in ("teacher", "student") if run.checkpoints.newest(stage)[0] is not None]
        if before and reconstructor_of(run.completed) not in (None, seal):
            raise DataError(
                f"{run.path.name}: the reconstructor has changed since the {before[-1]} learned from its images; "
                "choose another --run-dir."
            )
        with stop.at_once():  # nothing is half done: what was completed so far is made anew
            complete(network, experiment.dataset, run.completed, experiment.distribution, seal)
    return experiment.examples


def _build_stage(experiment: Experiment, run: RunFolder, name: StageName) -> Stage:
    """Build a stage from what those before have left."""
    if name == "teacher":
        return experiment.teacher_stage()
    if name == "student":
        return experiment.student_stage(experiment.load_network(finished(run, "teacher"), "teacher"))
    starts = experiment.reconstructor_settings.start == "teacher"
    teacher = experiment.load_network(finished(run, "teacher"), "teacher") if starts else None
    return experiment.reconstructor_stage(teacher)


def _try_report(run: RunFolder, run_logger: RunLogger) -> None:
    """Leave a report of what there is; a run that already failed does not fail again over its report."""
    try:
        build_report(run)
    except (OSError, ValueError, KeyError) as error:
        run_logger.say(f"no report could be written: {error}", warning=True)
