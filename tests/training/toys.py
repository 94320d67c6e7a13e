"""Small networks, data and stages for the tests of the loop."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators import Identity, MultiCoilFourier
from rsd_med.runs.run_folder import RunFolder
from rsd_med.training.stage import Stage
from tests.operators.contracts import random_maps

UNDERSAMPLING = MultiCoilFourierSettings(acceleration=1.5, acs_lines=4, further_lines=2).build()


def generator(seed: int = 0) -> Draws:
    return Draws().manual_seed(seed)


class TinyNetwork(nn.Module):
    """One convolution, and the noise label."""

    def __init__(self, channels: int, context_channels: int = 0, seed: int = 0) -> None:
        super().__init__()
        inputs = channels + context_channels
        self.kernel = nn.Parameter(0.1 * torch.randn(channels, inputs, 3, 3, generator=generator(seed)))
        self.label = nn.Parameter(0.1 * torch.randn(channels, generator=generator(seed + 1)))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
        label = noise_label.reshape(-1, 1, 1, 1) * self.label.reshape(1, -1, 1, 1)
        return torch.nn.functional.conv2d(x, self.kernel, padding=1) + label


def tiny_denoiser(channels: int = 2, context_channels: int = 0) -> Denoiser:
    return Denoiser(TinyNetwork(channels, context_channels))


class Pixels:
    """Means of rows and of columns as features."""

    name = "pixels"
    dimension = 4

    def __call__(self, images: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1).double()


def pictures(count: int, side: int = 4, sigma: float = 0.2, seed: int = 0) -> Measurement:
    """Noisy pictures ``0.3 + 0.5 z + σ ε``."""
    data = 0.3 + (0.25 + sigma**2) ** 0.5 * torch.randn(count, 1, side, side, generator=generator(seed))
    names = tuple(f"picture {i}" for i in range(count))
    return Measurement(data, Identity(), torch.full((count,), sigma), torch.ones(count), names)


def scans(count: int, coils: int = 2, side: int = 12, seed: int = 0) -> Measurement:
    """Undersampled k-space of random images; every item has its own coil maps and mask."""
    maps = random_maps((count, coils, side, side), torch.complex64, seed + 1)
    source = generator(seed)
    masks = torch.stack([UNDERSAMPLING.draw_mask(side, source) for _ in range(count)])
    operator = MultiCoilFourier(masks[:, None, None], maps)
    images = torch.randn(count, 1, side, side, dtype=torch.complex64, generator=source)
    names = tuple(f"scan {i}" for i in range(count))
    return Measurement(operator(images), operator, torch.zeros(count), torch.ones(count), names)


class Kept:
    """A data set of measurements in memory."""

    def __init__(self, measurements: Measurement) -> None:
        self.measurements = measurements

    def groups(self) -> dict[tuple[int, ...], list[int]]:
        return {tuple(self.measurements.data.shape[1:]): list(range(len(self.measurements)))}

    def expect(self, indices: Sequence[int]) -> None: ...

    def share_cache(self, readers: int) -> None: ...

    def __getitem__(self, index: int) -> Measurement:
        return self.measurements[index : index + 1]


class CountingStage(Stage):
    """A stage that notes how it is driven; its one weight is the sum of what it saw."""

    name = "teacher"

    def __init__(self, images: int, batch_size: int, evaluate_every: int | None = None, skips: Any = ()) -> None:
        super().__init__(images, batch_size, evaluate_every)
        self.network = nn.Linear(1, 1)
        self.optimiser = torch.optim.Adam(self.network.parameters())
        self.skips = set(skips)
        self.steps: list[int] = []
        self.seeds: list[int] = []
        self.met: list[str] = []
        self.evaluations: list[int] = []
        self.extra: Mapping[str, float | int | None] = {"note": 7}

    def step(self, batch: Measurement, images: int, generator: Draws) -> dict[str, torch.Tensor]:
        self.steps.append(images)
        self.seeds.append(generator.initial_seed())
        self.met += batch.ids
        with torch.no_grad():
            self.network.weight += batch.data.mean()
        return {"loss": torch.tensor(float(images)), "skipped": torch.tensor(float(len(self.steps) in self.skips))}

    def networks(self) -> Mapping[str, nn.Module]:
        return {"teacher": self.network}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"teacher": self.optimiser}

    def evaluate(self, images: int) -> tuple[dict[str, float], torch.Tensor]:
        self.evaluations.append(images)
        return {"proximal_fd": 1.0}, torch.zeros(1, 1, 2, 2)

    def extra_state(self) -> Mapping[str, float | int | None]:
        return self.extra

    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        self.extra = state


class QuietJournal:
    """Keeps what a run_logger would tell."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int, dict[str, float]]] = []
        self.sentences: list[str] = []

    def begin_stage(self, name: str, images: int, total: int) -> None: ...

    def progress(self, images: int) -> None: ...

    def end_stage(self) -> None: ...

    def say(self, sentence: str, warning: bool = False) -> None:
        self.sentences.append(sentence)

    def record(self, stage: str, images: int, figures: dict[str, float]) -> None:
        self.lines.append((stage, images, figures))


def run_folder(tmp_path: Path, keep: int = 2) -> RunFolder:
    return RunFolder(tmp_path / "run", keep)
