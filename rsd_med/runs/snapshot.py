"""A stage as it stands after a step, to be written while it goes on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from rsd_med.base.errors import DivergedError


class Trainable(Protocol):
    """What can be saved and gone on with: a stage of training."""

    name: str

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the networks whose weights are saved, by file name."""

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the optimisers whose state is saved."""

    def extra_state(self) -> Mapping[str, float | int | None]:
        """Return further plain numbers that a resumed stage needs."""

    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take back what ``extra_state`` returned."""


@dataclass(frozen=True)
class Snapshot:
    """Copies of all that a checkpoint holds; what the stage does next does not reach them.

    Attributes
    ----------
    stage
        The name of the stage.
    images, total_images
        Images seen, of the stage and of the run.
    finished
        Whether the stage is done.
    networks
        Weights by the name of their network, on the CPU.
    state
        Optimisers and counters.
    """

    stage: str
    images: int
    total_images: int
    finished: bool
    networks: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]

    @classmethod
    def take(cls, stage: Trainable, images: int, total_images: int, finished: bool) -> "Snapshot":
        """Copy ``stage`` after ``images`` of its images, and ``total_images`` of the run's.

        Raises
        ------
        DivergedError
            If a number is NaN or infinite: only finite numbers are saved.
        """
        _require_finite(stage, images)
        networks = {
            name: {key: _copied(tensor).contiguous() for key, tensor in network.state_dict().items()}
            for name, network in stage.networks().items()
        }
        optimisers = {name: _copied(optimiser.state_dict()) for name, optimiser in stage.optimisers().items()}
        state = {"optimisers": optimisers, "extra": dict(stage.extra_state())}
        return cls(stage.name, images, total_images, finished, networks, state)


def _copied(value: Any) -> Any:
    """Copy tensors to the CPU, wherever in dicts and lists they are."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value


def _require_finite(stage: Trainable, images: int) -> None:
    """Refuse to save what training could not go on from."""
    for name, network in stage.networks().items():
        if not _all_finite(network.state_dict().values()):
            raise DivergedError(
                f"{stage.name}: the weights of {name} are NaN or infinite after {images:,} images; they are not saved, "
                f"and the last good checkpoint is kept. Lower {stage.name}'s learning rate, then run the command again."
            )
    for name, optimiser in stage.optimisers().items():
        moments = [value for state in optimiser.state.values() for value in state.values()]
        if not _all_finite(value for value in moments if isinstance(value, Tensor)):
            raise DivergedError(
                f"{stage.name}: the optimiser of {name} holds NaN or infinite numbers after {images:,} images; they "
                f"are not saved, and the last good checkpoint is kept. Lower {stage.name}'s learning rate, then run "
                "the command again."
            )


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    """Ask the device once for all of its tensors."""
    finite: dict[torch.device, list[Tensor]] = {}
    for tensor in tensors:
        if tensor.is_floating_point() or tensor.is_complex():
            finite.setdefault(tensor.device, []).append(torch.isfinite(tensor).all())
    return all(bool(torch.stack(verdicts).all()) for verdicts in finite.values())
