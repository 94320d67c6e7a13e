"""A run folder opened again: its experiment, and its newest checkpoint."""

from pathlib import Path
from typing import Literal

from rsd_med.base.devices import device_kind
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.data.paths import resolve_path
from rsd_med.experiment import Experiment
from rsd_med.protocol import load_protocol
from rsd_med.runs.checkpoints import Checkpoint
from rsd_med.runs.run_folder import RunFolder
from rsd_med.teachers.completed import CompletedSettings


def newest_checkpoint(run: RunFolder, stage: str) -> Checkpoint:
    """Find the newest checkpoint of ``stage`` in a run; DataError where there is none."""
    checkpoint, _ = run.checkpoints.newest(stage)
    if checkpoint is None:
        raise DataError(
            f"{run.path.name} holds no {stage} checkpoint; train it first: python -m rsd_med.train"
            + ("." if stage == "student" else ", or take that of another run with --teacher RUN.")
        )
    return checkpoint


def finished(run: RunFolder, stage: str) -> Checkpoint:
    """Return the last checkpoint of a stage; DataError where it is missing or not trained to its end."""
    checkpoint = newest_checkpoint(run, stage)
    if not checkpoint.finished:
        raise DataError(
            f"{run.path.name}: the {stage} stopped at {checkpoint.images:,} images; finish it first with --stage "
            f"{stage}."
        )
    return checkpoint


def completing(experiment: Experiment, run: RunFolder) -> tuple[Experiment, Checkpoint]:
    """Find the reconstructor whose images a teacher of completed scans learns from: the run's own, or a named one's.

    Raises
    ------
    DataError
        If it is missing or not trained to its end.
    """
    objective = experiment.protocol.teacher.objective
    assert isinstance(objective, CompletedSettings)
    if objective.reconstructor is None:
        return experiment, finished(run, "reconstructor")
    advice = "see teacher.objective.reconstructor"
    other = RunFolder(resolve_path(objective.reconstructor, experiment.base_dir, "run of a reconstructor", advice))
    checkpoint = finished(other, "reconstructor")
    return open_run(other, device=device_kind(experiment.protocol.engine.device, "engine.device")), checkpoint


def open_run(
    run: RunFolder,
    reference: Path | None = None,
    num_samples: int | None = None,
    seeds: int | None = None,
    device: Literal["cpu", "cuda"] | None = None,
) -> Experiment:
    """Rebuild the experiment of a run from its own protocol.

    Parameters
    ----------
    run
        A folder that ``rsd_med.train`` has filled.
    reference
        Root of other clean data for evaluation, read as the protocol reads its reference, or else its data.
    num_samples
        Samples behind every distance, in place of the protocol's.
    seeds
        How often to measure, in place of the protocol's.
    device
        Where to compute, in place of the protocol's ``engine.device``.

    Raises
    ------
    DataError
        Where the folder is no run.
    ProtocolError
        Where the protocol's data have no root to replace.
    """
    if not run.protocol_resolved.is_file():
        raise DataError(f"{run.path} is no run folder: it holds no {run.protocol_resolved.name}.")
    base_dir = run.read_base_dir()
    protocol = load_protocol(run.protocol_resolved)
    changes: dict[str, object] = {}
    if num_samples is not None:
        changes["num_samples"] = num_samples
    if seeds is not None:
        changes["seeds"] = seeds
    if reference is not None:
        pattern = protocol.evaluation.reference or protocol.data
        if not hasattr(pattern, "root"):
            raise ProtocolError(
                f"--reference: data of kind {pattern.kind} are simulated and have no folder to replace."
            )
        changes["reference"] = pattern.model_copy(update={"root": str(reference.resolve())})
    opened = protocol.model_copy(
        update={
            "evaluation": protocol.evaluation.model_copy(update=changes),
            # A few samples are drawn in less time than compiling takes.
            "engine": protocol.engine.model_copy(update={"compile": False, "device": device or protocol.engine.device}),
        }
    )
    stored = run.sampling_operators if run.sampling_operators.exists() else None
    return Experiment(opened, base_dir, stored, run.autotune, completed=run.completed)
