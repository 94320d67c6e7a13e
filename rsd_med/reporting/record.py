"""A run folder read for reporting: what is missing or damaged becomes a sentence, never a crash."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import ProtocolError
from rsd_med.base.limits import MAX_SIDE
from rsd_med.protocol.yaml_text import MAX_BYTES, parse_mapping
from rsd_med.runs.grids import GALLERY
from rsd_med.runs.run_folder import RunFolder

_GRID_NAME = re.compile(r"(teacher|student)_(\d{1,15})\.png")


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds.

    Attributes
    ----------
    name
        The folder's name.
    status
        Content of ``status.json``.
    metrics
        Content of ``metrics.json``.
    lines
        Lines of ``metrics.jsonl``.
    protocol, protocol_text
        The resolved protocol, as plain values and as it is written.
    environment
        Content of ``environment.json``.
    given_teacher
        Content of ``teacher.json``: where the teacher is from, if it was not trained here.
    imported
        Content of ``imported.json``: where a network is from that was trained elsewhere.
    gallery
        Images in channels by name (``measurements``, ``teacher.<sampler>``, ``student``, ``reference``): float32
        ``(n, channels, y, x)``, scaled units, finite.
    audit
        The nearest pairs of the audit of memorisation, likewise: ``samples``, ``seen``, ``measurements``.
    grids
        PNG files of samples drawn while training, by stage and image count.
    problems
        A sentence for everything that was there but could not be read.
    """

    name: str
    status: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lines: tuple[Mapping[str, Any], ...]
    protocol: Mapping[str, Any]
    protocol_text: str
    environment: Mapping[str, Any]
    given_teacher: Mapping[str, Any]
    imported: Mapping[str, Any]
    gallery: Mapping[str, Tensor]
    audit: Mapping[str, Tensor]
    grids: Mapping[str, Mapping[int, Path]]
    problems: tuple[str, ...]

    @property
    def state(self) -> str:
        """Return ``running``, ``done``, ``interrupted``, ``failed``, ``diverged`` or ``unknown``."""
        return str(self.status.get("state", "unknown"))

    @property
    def command(self) -> str | None:
        """Return the command line behind the figures."""
        command = self.metrics.get("command", self.status.get("command"))
        return None if command is None else str(command)

    def describe_given_teacher(self) -> str | None:
        """Say whose teacher was distilled; None where it was trained in this run."""
        if not self.given_teacher:
            return None
        facts = {key: self.given_teacher.get(key, "not recorded") for key in ("run", "checkpoint", "images", "sha256")}
        # The run's own name alone: reports are passed on, and where files lie is nobody's business.
        return (
            f"trained in another run, {Path(str(facts['run'])).name}: checkpoint {facts['checkpoint']}, "
            f"{facts['images']} images, SHA-256 {facts['sha256']}"
        )

    def describe_imported(self) -> str | None:
        """Say which network was taken over from elsewhere; None where all were trained with rsd_med."""
        if not self.imported:
            return None
        facts = {key: self.imported.get(key, "not recorded") for key in ("network", "file", "images", "sha256")}
        images = f"{facts['images']} images" if facts["images"] else "images not recorded"
        return f"the {facts['network']}, from {Path(str(facts['file'])).name}: {images}, SHA-256 {facts['sha256']}"

    def models(self) -> dict[str, Mapping[str, Any]]:
        """Return the figures of each model measured: ``teacher.<sampler>`` in their order, then ``student``."""
        figures_of = {f"teacher.{name}": figures for name, figures in mapping(self.metrics, "teacher").items()}
        if "student" in self.metrics:
            figures_of["student"] = self.metrics["student"]
        return {name: figures for name, figures in figures_of.items() if isinstance(figures, Mapping)}

    def reconstruction(self) -> dict[str, Mapping[str, Any]]:
        """Return the figures of the reconstructor and of the methods beside it; empty where none was trained."""
        figures_of = mapping(self.metrics, "reconstruction").items()
        return {name: figures for name, figures in figures_of if isinstance(figures, Mapping)}

    @property
    def floor(self) -> Mapping[str, Any]:
        """Return the figures of real images in a model's place; empty where there are none."""
        return mapping(self.metrics, "floor")

    def real_and_models(self) -> dict[str, Mapping[str, Any]]:
        """Return the figures of real images (``floor``), of the student, and of each of the teacher's samplers."""
        models = self.models()
        own = {"student": models.pop("student")} if "student" in models else {}
        return ({"floor": self.floor} if self.floor else {}) | own | models

    def series(self, stage: str, name: str) -> list[tuple[float, float]]:
        """Return (images, value) of a figure over a stage; values need not be finite."""
        return [
            (images, value)
            for line in self.lines
            if line.get("stage") == stage
            and (images := finite(line, "images")) is not None
            and (value := number(line, name)) is not None
        ]

    def images_seen(self, stage: str) -> int:
        """Return how far a stage came, in images."""
        return int(max((images for images, _ in self.series(stage, "images")), default=0))

    def total(self, stage: str, name: str) -> float:
        """Return the sum of a figure over a stage."""
        return sum(value for _, value in self.series(stage, name) if math.isfinite(value))

    def chosen(self) -> tuple[float, float] | None:
        """Return (images, proximal distance) of the student that was chosen: the first smallest."""
        points = [point for point in self.series("student", "proximal_fd") if math.isfinite(point[1])]
        return min(points, key=lambda point: point[1], default=None)

    def never_improved(self) -> bool:
        """Say whether the student was measured several times, and its proximal distance was the smallest at first."""
        points = [point for point in self.series("student", "proximal_fd") if math.isfinite(point[1])]
        return len(points) > 1 and points[-1][1] > points[0][1] == min(value for _, value in points)


def mapping(values: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Return the group of keys at ``path``, or an empty one."""
    for key in path:
        value = values.get(key)
        values = value if isinstance(value, Mapping) else {}
    return values


def number(values: Mapping[str, Any], key: str) -> float | None:
    """Return a number, or None where there is none; NaN and infinity stay what they are."""
    value = values.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def finite_numbers(value: Any) -> tuple[float, ...]:
    """Return a list of finite numbers, or none of them where any is something else."""
    numbers = [finite({"": item}, "") for item in value] if isinstance(value, list) else []
    return tuple(item for item in numbers if item is not None) if None not in numbers else ()


def finite(values: Mapping[str, Any], key: str) -> float | None:
    """Return a number that is finite, or None."""
    value = number(values, key)
    return value if value is not None and math.isfinite(value) else None


def read_run(run: RunFolder) -> RunRecord:
    """Read a run folder, whatever of it is there."""
    reader = _Reader()
    protocol_text = reader.text(run.protocol_resolved) or reader.text(run.protocol)
    return RunRecord(
        name=run.path.resolve().name,
        status=reader.json(run.path / "status.json"),
        metrics=reader.json(run.metrics),
        lines=tuple(line for line in reader.lines(run) if isinstance(line, Mapping)),
        protocol=reader.protocol(protocol_text),
        protocol_text=protocol_text,
        environment=reader.json(run.environment),
        given_teacher=reader.json(run.teacher),
        imported=reader.json(run.imported),
        gallery=reader.gallery(run.samples / "gallery"),
        audit=reader.gallery(run.samples / "audit"),
        grids=find_grids(run.samples),
        problems=tuple(reader.problems),
    )


@dataclass
class _Reader:
    """Reads files, and notes what it could not read."""

    problems: list[str] = field(default_factory=list)

    def text(self, path: Path) -> str:
        if not path.is_file():
            return ""
        try:
            if path.stat().st_size > MAX_BYTES:
                self.problems.append(f"{path.name} is too large to be shown.")
                return ""
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError):
            self.problems.append(f"{path.name} is there but cannot be read.")
            return ""

    def json(self, path: Path) -> Mapping[str, Any]:
        if not path.is_file():
            return {}
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            content = None
        if isinstance(content, Mapping):
            return content
        self.problems.append(f"{path.name} is there but cannot be read.")
        return {}

    def lines(self, run: RunFolder) -> list[Any]:
        try:
            return list(run.read_metrics_lines())
        except (OSError, ValueError, RecursionError):
            self.problems.append(f"{run.metrics_lines.name} is there but cannot be read.")
            return []

    def protocol(self, text: str) -> Mapping[str, Any]:
        if not text:
            return {}
        try:
            return parse_mapping(text, "protocol.resolved.yaml")
        except ProtocolError as error:
            self.problems.append(f"The protocol cannot be read: {error}.")
            return {}

    def gallery(self, folder: Path) -> dict[str, Tensor]:
        pictures = {}
        for path in sorted(folder.glob("*.npy")) if folder.is_dir() else []:
            images = self._images(path)
            if images is not None:
                pictures[path.stem] = images
        return pictures

    def _images(self, path: Path) -> Tensor | None:
        try:
            # Mapped, not loaded: a header that lies about its size costs nothing.
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
            fits = stored.ndim == 4 and stored.dtype.kind == "f" and len(stored) > 0
            if not fits or stored.shape[1] not in (1, 2, 3) or not all(1 <= n <= MAX_SIDE for n in stored.shape[2:]):
                raise ValueError("no gallery")
            images = torch.from_numpy(np.array(stored[:GALLERY], dtype=np.float32))
        except (OSError, ValueError, EOFError):
            self.problems.append(f"The pictures in {path.name} cannot be read.")
            return None
        if not bool(torch.isfinite(images).all()):
            self.problems.append(f"The pictures in {path.name} hold values that are not finite; they are shown as 0.")
            images = images.nan_to_num(0.0, 0.0, 0.0)
        return images


def find_grids(folder: Path) -> dict[str, dict[int, Path]]:
    """Return the pictures of samples while training, by stage and number of images."""
    grids: dict[str, dict[int, Path]] = {"teacher": {}, "student": {}}
    for path in sorted(folder.glob("*.png")) if folder.is_dir() else []:
        match = _GRID_NAME.fullmatch(path.name)
        if match:
            grids[match[1]][int(match[2])] = path
    return grids


def model_title(name: str) -> str:
    """Name a model for a person: ``teacher.heun`` is ``Teacher (heun)``, ``floor`` is ``Real images (floor)``."""
    if name == "floor":
        return "Real images (floor)"
    kind, _, sampler = name.partition(".")
    return f"{kind.capitalize()} ({sampler})" if sampler else kind.capitalize()
