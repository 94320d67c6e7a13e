"""What is done to which images, which objective fits it, and what the student is held to."""

from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Task:
    """A data set and its corruption.

    Attributes
    ----------
    name
        As the command line names it.
    about
        In words.
    data
        ``mnist``, ``cifar10`` (pictures) or ``brain`` (four-coil raw files).
    side
        Side of the images in pixels.
    corruption, objective
        As in a protocol.
    published
        The papers' ratio of student and teacher's best sampler (arXiv 2505.13377), on images of 64² and more.
    bound
        The largest ratio that is asked for here.
    student_share
        Part of the budget's student images that the task takes: of larger images, fewer are affordable.
    hidden_std
        Of the preconditioning; 0 is the published one, which lets a network err by no more than σ at hidden pixels.
    """

    name: str
    about: str
    data: str
    side: int
    corruption: dict[str, Any]
    objective: dict[str, Any]
    published: float
    bound: float
    student_share: float = 1.0
    hidden_std: float = 0.0

    @property
    def complex_images(self) -> bool:
        """Whether the task's data are k-space."""
        return self.data == "brain"

    @property
    def acceleration(self) -> int:
        """R of k-space; 1 for pictures."""
        return int(self.corruption.get("acceleration", 1))


def _pictures(
    name: str, about: str, data: str, corruption: dict[str, Any], objective: str, published: float, bound: float
) -> Task:
    return Task(name, about, data, 16, corruption, {"kind": objective}, published, bound)


def _kspace(acceleration: int, acs_lines: int, published: float, bound: float) -> Task:
    corruption = {"kind": "multicoil_fourier", "mask": "file", "acceleration": acceleration, "acs_lines": acs_lines}
    about = f"four-coil k-space, R = {acceleration}"
    objective = {"kind": "ambient_fourier"}
    return Task(f"mri_R{acceleration}", about, "brain", 32, corruption, objective, published, bound, 0.5)


_LIST = (
    _pictures("noise0.2", "noise, σ = 0.2", "cifar10", {"kind": "noise", "sigma": 0.2}, "ambient_tweedie", 0.39, 0.4),
    _pictures("noise0.4", "noise, σ = 0.4", "mnist", {"kind": "noise", "sigma": 0.4}, "ambient_tweedie", 0.98, 0.7),
    _pictures(
        "inpaint0.6",
        "60 % of the pixels missing",
        "mnist",
        {"kind": "inpainting", "missing": 0.6},
        "ambient_masked",
        0.73,
        0.7,
    ),
    _pictures(
        "inpaint0.9",
        "90 % of the pixels missing",
        "mnist",
        {"kind": "inpainting", "missing": 0.9},
        "ambient_masked",
        0.66,
        0.6,
    ),
    _pictures("sr2", "half the resolution", "mnist", {"kind": "super_resolution", "factor": 2}, "denoising", 0.56, 0.5),
    _pictures(
        "blur_noise0.2",
        "blur (5×5, std 1) and noise, σ = 0.2",
        "mnist",
        # The published kernel (9×9, std 2) is for sides of 64: on 16 it would leave nothing of a digit.
        {"kind": "blur", "side": 5, "std": 1.0, "sigma": 0.2},
        "ambient_tweedie",
        0.78,
        0.7,
    ),
    _kspace(4, 4, 0.33, 0.30),
    _kspace(8, 2, 0.47, 0.45),
)
_MENDED = [
    replace(task, name=f"{task.name}_mended", about=f"{task.about}, hidden_std 0.3", hidden_std=0.3)
    for task in _LIST
    if task.name == "inpaint0.6"
]
TASKS = {task.name: task for task in (*_LIST, *_MENDED)}
