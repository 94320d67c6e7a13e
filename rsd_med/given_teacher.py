"""A teacher that another run has trained, distilled without being trained again: ``rsd_med.train P --teacher RUN``."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.files import folder_written_aside, write_text
from rsd_med.data.paths import resolve_root
from rsd_med.experiment import Experiment
from rsd_med.opened_run import finished, open_run
from rsd_med.protocol import Protocol
from rsd_med.runs.checkpoints import Checkpoint, verify
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.shared_folder import is_shared

MUST_AGREE = ("seed", "data", "calibration", "corruption", "backbone", "augmentation", "diffusion")
"""What teacher and student agree on, besides the teacher's objective: from the seed the measurements derive."""


@dataclass(frozen=True)
class GivenTeacher:
    """The finished teacher of a run.

    Attributes
    ----------
    run
        The run that has trained it.
    experiment
        That run's.
    checkpoint
        Where it lies.
    """

    run: RunFolder
    experiment: Experiment
    checkpoint: Checkpoint

    @property
    def protocol(self) -> Protocol:
        """The protocol that it was trained by."""
        return self.experiment.protocol

    def require_agreement(self, protocol: Protocol, base_dir: Path) -> None:
        """Refuse to distil it by a protocol of other data, objective or networks; ProtocolError names the key.

        Parameters
        ----------
        protocol
            The student's, its noise level known.
        base_dir
            Folder that its relative data root refers to.
        """
        theirs, ours = _flat(_decisive(self.protocol, self.experiment.base_dir)), _flat(_decisive(protocol, base_dir))
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            before, now = theirs.get(key, "absent"), ours.get(key, "absent")
            if before != now:
                raise ProtocolError(
                    f"--teacher {self.run.path}: {key} is {before} in that run and {now} in this protocol; a student "
                    "learns from the measurements, the objective and the network of its teacher, so write the "
                    "teacher's value or train a teacher for this one."
                )

    def adopt(self, run: RunFolder) -> Checkpoint:
        """Copy it into a run that has begun, with a note of where it is from; return its checkpoint there.

        The reconstructor whose images it has learned from, where it is such a teacher, comes with it.
        """
        write_text(run.teacher, json.dumps(self.identity(run), indent=2) + "\n")
        if self.run.autotune.is_file() and not run.autotune.exists():
            write_text(run.autotune, self.run.autotune.read_text(encoding="utf-8"))
        if self.run.imported.is_file():
            write_text(run.imported, self.run.imported.read_text(encoding="utf-8"))
        run.checkpoints.folder.mkdir(exist_ok=True)
        needed = [finished(self.run, stage) for stage in self.protocol.needed_for("teacher")]
        for checkpoint in (*needed, self.checkpoint):
            target = run.checkpoints.folder / checkpoint.folder.name
            with folder_written_aside(target, durable=True) as side:
                for file in checkpoint.folder.iterdir():
                    shutil.copyfile(file, side / file.name)
        return verify(target)

    def identity(self, run: RunFolder) -> dict[str, Any]:
        """Say which teacher it is; the path is relative to ``run``, so that no path of the machine is recorded."""
        return {
            "run": os.path.relpath(self.run.path.resolve(), run.path.resolve()),
            "protocol": self.protocol.name,
            "checkpoint": self.checkpoint.folder.name,
            "images": self.checkpoint.images,
            "sha256": self.checkpoint.sha256("teacher"),
        }

    def require_same(self, run: RunFolder) -> None:
        """Refuse to go on in a run that was begun with another teacher; ProtocolError."""
        try:
            recorded = json.loads(run.teacher.read_text(encoding="utf-8"))["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{run.teacher} is damaged; choose another --run-dir.") from error
        if recorded != self.checkpoint.sha256("teacher"):
            raise ProtocolError(
                f"{run.path} was begun with another teacher than that of {self.run.path}; choose another --run-dir."
            )


def open_teacher(folder: Path) -> GivenTeacher:
    """Find the finished teacher of a run.

    Raises
    ------
    DataError
        If the folder is no run, or its teacher is missing or not finished.
    ProtocolError
        If it is a model that was passed on.
    """
    run = RunFolder(folder)
    if is_shared(folder):
        raise ProtocolError(
            f"--teacher {folder} is a model that was passed on, without its data; a student is distilled from a run."
        )
    experiment = open_run(run)
    return GivenTeacher(run, experiment, finished(run, "teacher"))


def _decisive(protocol: Protocol, base_dir: Path) -> dict[str, Any]:
    """Return what a teacher and its student must agree on, the data root as the place it means."""
    plain = protocol.model_dump(mode="json")
    parts = {key: plain[key] for key in MUST_AGREE} | {"teacher": {"objective": plain["teacher"]["objective"]}}
    if isinstance(parts["data"].get("root"), str):
        parts["data"]["root"] = str(resolve_root(parts["data"]["root"], base_dir))
    parts["calibration"]["maps"].pop("cache_dir", None)
    named = parts["teacher"]["objective"].get("reconstructor")
    if named is not None:
        parts["teacher"]["objective"]["reconstructor"] = str(resolve_root(named, base_dir))
    if protocol.teacher.objective.after_reconstructor:
        parts["reconstructor"] = plain["reconstructor"]
    return parts


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Spread nested groups of keys into ``a.b.c``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
