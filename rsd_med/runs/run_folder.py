"""The folder that a run fills: what was asked, what happened, what came out."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from rsd_med import __version__
from rsd_med.base.errors import DataError
from rsd_med.base.files import write_text
from rsd_med.runs.checkpoints import CheckpointStore
from rsd_med.runs.lock import FolderLock
from rsd_med.runs.shared_folder import SharedWeights, is_shared

PACKAGES = ("torch", "torchvision", "monai", "numpy", "h5py", "nibabel", "sigpy", "pydantic", "safetensors")


class RunFolder:
    """Paths of a run and atomic writes into them.

    Parameters
    ----------
    path
        The folder; ``create`` makes it.
    keep_checkpoints
        Unfinished checkpoints kept.
    """

    def __init__(self, path: Path, keep_checkpoints: int = 2) -> None:
        self.path = path
        self.lock = FolderLock(path)
        self.checkpoints = (
            SharedWeights(path) if is_shared(path) else CheckpointStore(path / "checkpoints", keep_checkpoints)
        )
        self.samples = path / "samples"
        self.tensorboard = path / "tensorboard"
        self.log = path / "log.txt"
        self.metrics_lines = path / "metrics.jsonl"
        self.metrics = path / "metrics.json"
        self.report = path / "report.html"
        self.model_card = path / "model_card.md"
        self.protocol = path / "protocol.yaml"
        self.protocol_resolved = path / "protocol.resolved.yaml"
        self.sampling_operators = path / "sampling_operators.safetensors"
        self.autotune = path / "autotune.json"
        self.environment = path / "environment.json"
        self.completed = path / "completed"
        self.teacher = path / "teacher.json"
        self.imported = path / "imported.json"

    def create(self, protocol: str, resolved: str, seed: int, base_dir: Path) -> None:
        """Make the folder, lock it against other processes and write what is known before the first step.

        Parameters
        ----------
        protocol, resolved
            The protocol as given, and with every default spelt out.
        seed
            The run's seed.
        base_dir
            Folder of the protocol; kept relative to the run, so that no path of the machine is recorded.

        Raises
        ------
        ProtocolError
            If another process works in the folder. The lock is held until ``lock.release`` or the end of the process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock.acquire()
        self.samples.mkdir(exist_ok=True)
        write_text(self.protocol, protocol)
        write_text(self.protocol_resolved, resolved)
        known = {"seed": seed, "protocol_folder": os.path.relpath(base_dir, self.path)}
        write_text(self.environment, json.dumps(describe_environment() | known, indent=2))

    def read_base_dir(self) -> Path:
        """Return the folder that the protocol's relative data roots refer to.

        Raises
        ------
        DataError
            If ``environment.json`` does not say it.
        """
        if is_shared(self.path):
            return self.path.resolve()
        try:
            known = json.loads(self.environment.read_text(encoding="utf-8"))
            return (self.path / str(known["protocol_folder"])).resolve()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.path}: {self.environment.name} is missing or damaged; rsd_med.train with this run's protocol "
                "writes it anew."
            ) from error

    def set_status(self, state: str, **details: Any) -> None:
        """Record ``running``, ``done``, ``interrupted``, ``failed`` or ``diverged`` in ``status.json``."""
        write_text(self.path / "status.json", json.dumps({"state": state, **details}, indent=2))

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``."""
        with self.metrics_lines.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics_lines(self) -> list[dict[str, Any]]:
        """Read ``metrics.jsonl``; a last line cut short by a crash is left out."""
        if not self.metrics_lines.exists():
            return []
        lines = []
        for text in self.metrics_lines.read_text().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue
        return lines

    def read_seconds(self) -> dict[str, float]:
        """Add up the seconds that each stage has taken so far, its evaluations included."""
        seconds: dict[str, float] = {}
        for line in self.read_metrics_lines():
            spent = line.get("seconds", 0.0) + line.get("evaluation_seconds", 0.0)
            seconds[line["stage"]] = seconds.get(line["stage"], 0.0) + spent
        return seconds

    def forget_metrics_after(self, stage: str, images: int, stages: Sequence[str]) -> None:
        """Drop lines beyond the point where a resumed run goes on, so that no image is logged twice.

        Parameters
        ----------
        stage, images
            That point.
        stages
            All stages, in the order of training.
        """
        order = {name: number for number, name in enumerate(stages)}
        keep = [
            line
            for line in self.read_metrics_lines()
            if (order.get(line.get("stage", ""), len(order)), line.get("images", 0)) <= (order[stage], images)
        ]
        write_text(self.metrics_lines, "".join(json.dumps(line) + "\n" for line in keep))


def describe_environment() -> dict[str, Any]:
    """Describe versions and hardware, without names of users, hosts or folders."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "rsd_med": __version__,
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": versions,
        "threads": torch.get_num_threads(),
        "cpu_count": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
