"""A run's teacher and student in the worker: draw images, reproducibly, and hold them against the measurements.

Image k of a seed is what ``python -m rsd_med.sample RUN --seed S`` writes as its k-th: the same latents, views and
order of draws (``rsd_med.evaluation.generation``). A truncation ψ below 1 multiplies the latent: less variety, more
typical images.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.progress import Progress, silent
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.samplers.base import SamplerSettings
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.evaluation.generation import BATCH, Latents, draw_latents
from rsd_med.experiment import Experiment
from rsd_med.inverse.prior import TrainedNetwork
from rsd_med.opened_run import newest_checkpoint, open_run
from rsd_med.prior import amortised_of, prior_of
from rsd_med.reconstruction import NetworkName
from rsd_med.reporting.record import RunRecord, read_run
from rsd_med.runs.run_folder import RunFolder

from .simulated import SIMULATED_COILS

MEASUREMENTS = 64
"""Measurements that samples are compared with: those whose images the run folder keeps."""

CACHE_GIB = 0.5
"""Of the training set, what stays in memory once it has been searched; the rest is read again."""


class Model:
    """The networks of a run.

    Parameters
    ----------
    path
        A run folder that ``rsd_med.train`` has filled, or the demo model.

    Raises
    ------
    DataError
        When the folder is none, or holds no trained network.
    """

    def __init__(self, path: Path) -> None:
        self.run = RunFolder(path)
        self.experiment: Experiment = _modest(open_run(self.run))
        self.stages: dict[str, tuple[Denoiser, int]] = {}
        for stage in ("student", "teacher"):
            try:
                checkpoint = newest_checkpoint(self.run, stage)
            except DataError:
                continue
            self.stages[stage] = (self.experiment.load_network(checkpoint, stage), checkpoint.images)
        if not self.networks:
            raise DataError(f"{path.name} holds no trained network yet; train it first: python -m rsd_med.train.")
        self.latents = lru_cache(maxsize=4)(self._draw_latents)

    @cached_property
    def record(self) -> RunRecord:
        """The folder's account of the training."""
        return read_run(self.run)

    @property
    def complex(self) -> bool:
        """Whether images are complex: two channels."""
        return self.experiment.channels == 2

    def networks_for(self, shape: Sequence[int]) -> list[str]:
        """Return the networks that can be asked about a scan of a matrix (y, x), which need complex images."""
        if not self.complex:
            return []
        fits = tuple(shape) == self.experiment.sampling_operators.size
        return [name for name in self.networks if fits or self._takes_any_size(name)]

    def _takes_any_size(self, name: str) -> bool:
        return name == "reconstructor" and self.experiment.reconstructor_settings.several_sizes

    @property
    def coils(self) -> int:
        """Coils of the run's own scans, with which images are scanned here; a few where they have none."""
        maps = self.experiment.sampling_operators.operator.coil_maps
        return SIMULATED_COILS if maps is None else int(maps.shape[-3])

    def facts(self) -> dict[str, Any]:
        """Return what the page says about the model, in plain data."""
        protocol = self.experiment.protocol
        sampler = protocol.evaluation.samplers[0]
        return {
            "name": protocol.name,
            "shape": [self.experiment.channels, *self.experiment.sampling_operators.data.shape[-2:]],
            "complex": self.complex,
            "models": {stage: images for stage, (_, images) in self.stages.items()},
            "corruption": protocol.corruption.kind,
            "acceleration": getattr(protocol.corruption, "acceleration", None),
            "teacher_calls": sampler.calls(self.experiment.objective.corruption.sigma),
            "measurements": 0 if self.measured is None else len(self.measured),
        }

    @torch.no_grad()
    def student(self, seed: int, numbers: Sequence[int], truncation: float, progress: Progress) -> np.ndarray:
        """Draw images of the student: float32 (n, channels, y, x), scaled units; see the module for what they are."""
        network = self.network("student")
        few_steps = self.experiment.protocol.student.few_steps
        return self._draw(seed, numbers, truncation, progress, lambda view, noise: few_steps(network, view, noise))

    @torch.no_grad()
    def teacher(
        self, seed: int, numbers: Sequence[int], truncation: float, calls: int, progress: Progress
    ) -> np.ndarray:
        """Draw images of the teacher from the same latents, with at most ``calls`` network calls for each image."""
        network = self.network("teacher")
        settings = self.teacher_sampler(calls)
        most = settings.calls(self.experiment.objective.corruption.sigma)
        done = 0

        def count(*_: object) -> None:
            nonlocal done
            done += 1
            progress(min(1.0, done / most))

        hook = network.register_forward_hook(count)
        try:
            return self._draw(
                seed,
                numbers,
                truncation,
                silent,
                lambda view, noise: settings.sample(network, view, noise, self.experiment.objective.corruption.sigma),
            )
        finally:
            hook.remove()

    def teacher_sampler(self, calls: int) -> SamplerSettings:
        """Return the run's own sampler with as many steps as ``calls`` allow, at least one; heun where it draws noise.

        An image must not depend on which others are drawn with it.
        """
        own = self.experiment.protocol.evaluation.samplers[0]
        if own.deterministic and calls >= own.calls(self.experiment.objective.corruption.sigma):
            return own
        steps = max(1, (calls + 1) // 2)
        return HeunSettings(steps=steps, sigma_min=own.sigma_min, sigma_max=own.sigma_max, rho=own.rho)

    @torch.no_grad()
    def between(
        self, seed: int, first: int, second: int, truncation: float, frames: int, progress: Progress
    ) -> np.ndarray:
        """Walk from one latent to another along the sphere, everything else as for the first image.

        Returns
        -------
        numpy.ndarray
            float32 (frames, channels, y, x); the first frame is the image ``first``.
        """
        network = self.network("student")
        few_steps = self.experiment.protocol.student.few_steps
        block, row = divmod(first, BATCH)
        other_block, other_row = divmod(second, BATCH)
        latents = self.latents(seed, block)
        a, b = latents.noise[row], self.latents(seed, other_block).noise[other_row]
        noise = torch.stack([slerp(a, b, k / max(1, frames - 1)) for k in range(frames)]) * truncation
        images = []
        for number, frame in enumerate(noise):
            images.append(few_steps(network, latents.view[row : row + 1], frame[None]))
            progress((number + 1) / frames)
        return torch.cat(images).cpu().numpy()

    @cached_property
    def measured(self) -> Tensor | None:
        """Measurements seen as images, in channels, whose operators are the first conditions; None if not kept."""
        images = self.record.gallery.get("measurements")
        if images is None or images.shape[2:] != self.experiment.sampling_operators.data.shape[-2:]:
            return None
        # Images without operators of their own (plain noise) share one condition.
        stored = len(self.experiment.sampling_operators)
        return images[: min(MEASUREMENTS, stored)] if stored > 1 else images[:MEASUREMENTS]

    def network(self, stage: str) -> Denoiser:
        """Return the network of a stage; DataError when it is not trained yet."""
        if stage not in self.stages:
            raise DataError(f"This run has no trained {stage} yet.")
        return self.stages[stage][0]

    @property
    def networks(self) -> list[NetworkName]:
        """Which networks reconstruction can ask: those of the stages that are trained."""
        there = self.run.checkpoints.newest("reconstructor")[0] is not None
        return [*self.stages, *(("reconstructor",) if there else ())]

    def trained(self, stage: NetworkName) -> TrainedNetwork:
        """Return a network of the run as methods of reconstruction take it.

        Raises
        ------
        DataError
            When it is not trained yet.
        ProtocolError
            When the run's images are real.
        """
        if stage != "reconstructor":
            return prior_of(self.experiment, self.network(stage), stage)
        return self._reconstructor

    @cached_property
    def _reconstructor(self) -> TrainedNetwork:
        checkpoint, _ = self.run.checkpoints.newest("reconstructor")
        if checkpoint is None:
            raise DataError("This run has no trained reconstructor yet.")
        return amortised_of(self.experiment, self.experiment.load_reconstructor(checkpoint).settled())

    def _draw_latents(self, seed: int, block: int) -> Latents:
        return draw_latents(self.experiment.objective, self.experiment.sampling_operators, seed, block * BATCH)

    def _draw(self, seed: int, numbers: Sequence[int], truncation: float, progress: Progress, draw: Any) -> np.ndarray:
        device = self.experiment.sampling_operators.device
        images_by_number: dict[int, Tensor] = {}
        blocks = sorted({number // BATCH for number in numbers})
        for done, block in enumerate(blocks):
            rows = [number % BATCH for number in numbers if number // BATCH == block]
            latents = self.latents(seed, block)
            index = torch.tensor(rows, device=device)
            images = draw(latents.view[index], truncation * latents.noise[index]).cpu()
            images_by_number.update({block * BATCH + row: image for row, image in zip(rows, images, strict=True)})
            progress((done + 1) / len(blocks))
        return torch.stack([images_by_number[number] for number in numbers]).numpy()


def _modest(experiment: Experiment) -> Experiment:
    """Let the training set take less memory than in training: here it is searched now and then."""
    engine = experiment.protocol.engine
    smaller = engine.model_copy(update={"cache_gib": min(engine.cache_gib, CACHE_GIB)})
    return replace(experiment, protocol=experiment.protocol.model_copy(update={"engine": smaller}))


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Go from one Gaussian latent to another on the sphere, where such latents lie (Shoemake 1985)."""
    cosine = ((a * b).sum() / (a.norm() * b.norm())).clamp(-1, 1)
    angle = torch.arccos(cosine)
    if float(angle) < 1e-4:
        return torch.lerp(a, b, share)
    mixed: Tensor = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)
    return mixed
