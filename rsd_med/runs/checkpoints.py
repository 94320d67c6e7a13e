"""Checkpoints that are whole or not there: written to the side, hashed, flushed, renamed; verified when read.

Only finite numbers are saved, so that every checkpoint that verifies is one to go on from.
"""

import hashlib
import json
import os
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rsd_med.base.errors import DataError
from rsd_med.base.files import flush, folder_written_aside
from rsd_med.runs.snapshot import Snapshot, Trainable

FORMAT = 1

FACTS = {"format", "stage", "images", "finished", "files"}
"""What a manifest says, besides the seal over it."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes
    ----------
    folder
        Where it lies: ``checkpoints/<images>``, images counted over all stages.
    stage
        The stage it belongs to.
    images
        Images of that stage seen so far.
    finished
        Whether the stage was done.
    """

    folder: Path
    stage: str
    images: int
    finished: bool

    def load_network(self, name: str, into: nn.Module) -> None:
        """Fill ``into`` with the weights called ``name``; DataError where they do not fit."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            into.load_state_dict(load_file(self.folder / f"{name}.safetensors"))
        except (RuntimeError, OSError, SafetensorError) as error:
            raise DataError(
                f"checkpoint {self.folder.name}: {name} does not fit the network of the protocol "
                f"({str(error).splitlines()[0]}); was the protocol changed since?"
            ) from error

    def sha256(self, name: str) -> str:
        """Return the hash of the weights called ``name``, which tells them from all others."""
        with (self.folder / f"{name}.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def load_state(self) -> dict[str, Any]:
        """Read optimisers and counters (``weights_only``: nothing is unpickled into code).

        Raises
        ------
        DataError
            If the file holds anything but tensors and plain values, or is no state at all.
        """
        try:
            state = torch.load(self.folder / "state.pt", weights_only=True, map_location="cpu")
            return {"optimisers": dict(state["optimisers"]), "extra": dict(state["extra"])}
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"checkpoint {self.folder.name}: state.pt is no state of a run; remove this checkpoint, and the one "
                "before it is used."
            ) from error


class CheckpointStore:
    """The ``checkpoints`` folder of a run.

    Parameters
    ----------
    folder
        Created when the first checkpoint is written.
    keep
        How many unfinished checkpoints stay; finished ones always do.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, stage: Trainable, images: int, total_images: int, finished: bool) -> Path:
        """Write a checkpoint of ``stage`` at once; see ``Snapshot.take`` and ``write``."""
        return self.write(Snapshot.take(stage, images, total_images, finished))

    def write(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint; in a thread of its own if need be, but one at a time.

        Raises
        ------
        OSError
            If the disk is full or the folder cannot be written. Nothing is left of the attempt.
        """
        from safetensors.torch import save_file

        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            flush(self.folder.parent)
        target = self.folder / f"{snapshot.total_images:010d}"
        with folder_written_aside(target, durable=True) as side:
            for name, weights in snapshot.networks.items():
                save_file(dict(weights), side / f"{name}.safetensors")
            with (side / "state.pt").open("wb") as file:  # given a path, torch hides that a disk is full
                torch.save(dict(snapshot.state), file)
            manifest = {
                "format": FORMAT,
                "stage": snapshot.stage,
                "images": snapshot.images,
                "finished": snapshot.finished,
                "files": {path.name: _fingerprint(path) for path in sorted(side.iterdir())},
            }
            (side / "manifest.json").write_text(json.dumps(manifest | {"seal": _seal(manifest)}, indent=2))
        self._rotate()
        return target

    def newest(self, stage: str | None = None) -> tuple[Checkpoint | None, list[str]]:
        """Find the newest undamaged checkpoint, of ``stage`` or of any.

        Returns
        -------
        tuple[Checkpoint | None, list[str]]
            The checkpoint or None, and a sentence for every damaged one that was passed over.
        """
        warnings = []
        for folder in sorted(self._folders(), reverse=True):
            try:
                checkpoint = verify(folder)
            except DataError as error:
                warnings.append(f"{error}; the one before it is used")
                continue
            if stage in (None, checkpoint.stage):
                return checkpoint, warnings
        return None, warnings

    def _folders(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [path for path in self.folder.iterdir() if path.name.isdigit()]

    def _rotate(self) -> None:
        for stale in self.folder.glob(".writing-*"):
            shutil.rmtree(stale, ignore_errors=True)
        good = 0
        for folder in sorted(self._folders(), reverse=True):
            if _read_manifest(folder).get("finished", False):
                continue
            if good < self.keep:
                good += _is_good(folder)  # a damaged one counts for nothing: what it was to replace stays
            else:
                # Under another name first: a process killed here leaves no half of it to be called damaged.
                doomed = folder.with_name(f".writing-{folder.name}")
                os.replace(folder, doomed)
                shutil.rmtree(doomed, ignore_errors=True)


def verify(folder: Path) -> Checkpoint:
    """Check every hash of a checkpoint; DataError with a sentence where something is damaged or missing."""
    manifest = _read_manifest(folder)
    if manifest.get("format") != FORMAT:
        raise DataError(f"checkpoint {folder.name} has no readable manifest of format {FORMAT}")
    for name, fingerprint in manifest["files"].items():
        path = folder / name
        # A manifest's names are those of its own folder: it cannot point elsewhere.
        try:
            whole = Path(name).name == name and not path.is_symlink() and _fingerprint(path) == fingerprint
        except OSError as error:  # gone, or on a part of the disk that can no longer be read
            raise DataError(
                f"checkpoint {folder.name} is damaged: {name} cannot be read ({(error.strerror or str(error)).lower()})"
            ) from error
        if not whole:
            raise DataError(f"checkpoint {folder.name} is damaged: {name} is not what was written")
    return Checkpoint(folder, manifest["stage"], manifest["images"], manifest["finished"])


def _is_good(folder: Path) -> bool:
    try:
        verify(folder)
    except DataError:
        return False
    return True


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _seal(manifest: Mapping[str, Any]) -> str:
    """Hash the facts of a manifest, whose own damage the hashes of the files would not show."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    """Read a manifest without its seal; nothing where it is missing or damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(manifest, dict):
        return {}
    facts = {name: value for name, value in manifest.items() if name != "seal"}
    # The first checkpoints had no seal.
    sealed = manifest.get("seal", _seal(facts)) == _seal(facts)
    known = facts.keys() == FACTS and isinstance(facts["files"], dict) and isinstance(facts["images"], int)
    return facts if sealed and known else {}
