"""The reconstructor: one network call from undersampled k-space to a draw from the posterior."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Conditions, Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.diffusion.backbones.base import BackboneSettings
from rsd_med.diffusion.kinds import BACKBONES
from rsd_med.diffusion.unrolled import UnrolledNetwork
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.inverse.spread_calibration import calibrate_spread
from rsd_med.metrics.energy_score import Group
from rsd_med.operators.channels import to_channels
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.training.ema import EMA
from rsd_med.training.kinds import OPTIMISERS
from rsd_med.training.muon import MuonSettings
from rsd_med.training.optim import OptimiserSettings, take_step
from rsd_med.training.settings import EMASettings
from rsd_med.training.stage import SIMPLE, Execution, Stage

BATCH = 8
"""Measurements in a pass of an evaluation."""


class ReconstructorSettings(Settings):
    """A stage of its own: a network that reconstructs in one call, learned from undersampled scans alone."""

    images: PositiveInt = Field(description="length of the stage, in measurements")
    root: str | None = Field(
        None,
        description="folder of scans that it learns from, in place of data.root and read likewise; it may hold "
        "scans of several sizes, and the reconstructor then takes scans of any; null: those of data.root",
    )
    batch_size: PositiveInt = Field(4, description="measurements in a step")
    start: Literal["teacher", "fresh"] = Field(
        "teacher", description="teacher: with the weights of the run's ambient_fourier teacher; fresh: without any"
    )
    backbone: Annotated[BackboneSettings, BACKBONES] | None = Field(
        None, description="its network, where it starts fresh; null: of the same kind and size as the teacher's"
    )
    turns: PositiveInt = Field(4, description="how often network and data take turns; the weights are the same")
    draws: PositiveInt = Field(
        2, description="draws that are scored against each other; 1: one point estimate, without uncertainty"
    )
    groups: tuple[Group, ...] = Field(
        ("entries", "pixels", "patches"), min_length=1, description="what the energy score compares as one vector"
    )
    least_central: PositiveInt = Field(4, description="central columns that are always shown")
    shown: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.3, 0.95), description="share of the other measured columns that is shown, drawn between these each time"
    )
    rows: PositiveInt | None = Field(
        None,
        description="image rows (readout) that a step learns from, a strip drawn anew for each measurement: rows "
        "are measured apart, so that large scans cost no more than small ones; null: all",
    )
    optimiser: Annotated[OptimiserSettings, OPTIMISERS] = Field(
        default_factory=lambda: MuonSettings(
            learning_rate=0.0075, adam_learning_rate=7.5e-4, warmup_images=200, decay="cosine"
        ),
        description="how the network learns",
    )
    ema: EMASettings = Field(
        default_factory=lambda: EMASettings(half_life=1000),
        description="moving average of the weights, which is the reconstructor",
    )
    evaluate_every: PositiveInt | None = Field(None, description="images between energy scores; null: at the end")
    evaluate_samples: int = Field(64, ge=2, description="measurements behind each energy score")

    @property
    def several_sizes(self) -> bool:
        """Whether it learns from scans of its own, which may have several sizes, so that it takes any."""
        return self.root is not None

    def score(self, corruption: Corruption) -> HiddenLinesScore:
        """Return what is asked of the network.

        Raises
        ------
        ProtocolError
            If the corruption is none of whole columns of k-space, or measures fewer central ones than are to be shown.
        """
        if not isinstance(corruption, MultiCoilUndersampling) or corruption.in_the_plane:
            raise ProtocolError(
                "reconstructor: it learns from whole columns of k-space that were measured: set corruption.kind to "
                "multicoil_fourier or fourier, with a pattern of columns, or leave reconstructor out."
            )
        lines = corruption.settings.acs_lines
        if lines < self.least_central:
            raise ProtocolError(
                f"reconstructor.least_central: {self.least_central} central columns are to be shown, and "
                f"corruption.acs_lines is {lines}."
            )
        return HiddenLinesScore(lines, self.least_central, self.draws, self.groups, self.shown)

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.shown[0] > self.shown[1]:
            raise ValueError(f"shown goes from the smaller share to the greater one, not from {self.shown[0]:g} down")
        if self.start == "teacher" and self.backbone is not None:
            raise ValueError("backbone goes with start: fresh; a teacher's weights fit its own network alone")
        return self


class ReconstructorStage(Stage):
    """Train ``network`` to predict measured lines that it is not shown.

    Of each measurement some lines are hidden (`rsd_med.operators.masks.sparser_masks`). The network draws images from
    the others, which are scored by the energy score of the hidden lines, measurement noise included, and of the lines
    that are shown, by noise that the network has not seen (`rsd_med.inverse.hidden_lines_score`). The rule is proper:
    its expectation is least if the draws have the law of what was hidden given what was shown. No image is asked for.

    Parameters
    ----------
    settings
        How.
    network
        The reconstructor before it has learned.
    corruption
        Of the measurements.
    conditions
        Measurements for evaluations.
    seed
        The run's.
    execution
        How it is carried out.

    Raises
    ------
    ProtocolError
        If the corruption is none of whole columns of k-space.
    """

    name = "reconstructor"
    generates = False

    def __init__(
        self,
        settings: ReconstructorSettings,
        network: UnrolledNetwork,
        corruption: Corruption,
        conditions: Conditions,
        seed: int,
        execution: Execution = SIMPLE,
    ) -> None:
        super().__init__(settings.images, settings.batch_size, settings.evaluate_every, execution)
        self.settings = settings
        self.score = settings.score(corruption)
        self.network = network
        self.conditions = conditions
        self.seed = seed
        self.ema = EMA(network, settings.ema)
        self.optimiser = settings.optimiser.build(network)

    def step(self, batch: Measurement, images: int, draws: Draws) -> dict[str, Tensor]:
        """Take one step on measurements."""
        network = self.network.learning(draws)
        loss = self.accumulate(
            "reconstructor", batch, draws, lambda part: self.score(network, self._strips(part, draws), draws)[0]
        )
        loss = self.distribution.average_gradients(self.network, loss)
        norm, skipped = take_step(self.network, self.optimiser, self.settings.optimiser, images, self.images)
        images_in_step = len(batch) * self.distribution.world_size
        self.ema.update(self.network, images + images_in_step, images_in_step)
        return {"loss": loss, "gradient_norm": norm, "skipped": skipped}

    def _strips(self, batch: Measurement, draws: Draws) -> Measurement:
        """Return a strip of `rows` of each measurement; whole ones where they have no more."""
        rows, height = self.settings.rows, batch.size[0]
        if rows is None or rows >= height:
            return batch
        starts = torch.floor((height - rows + 1) * draws.host.uniform(len(batch))).to(torch.int64).tolist()
        return Measurement.cat([_strip(batch[n : n + 1], slice(start, start + rows)) for n, start in enumerate(starts)])

    def networks(self) -> Mapping[str, nn.Module]:
        """Return the trained network and its average."""
        return {"reconstructor_online": self.network, "reconstructor": self.ema.module}

    def optimisers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Return the one optimiser."""
        return {"reconstructor_online": self.optimiser}

    def extra_state(self) -> dict[str, float | int | None]:
        """Return nothing: weights and optimiser are all there is."""
        return {}

    def load_extra_state(self, state: Mapping[str, float | int | None]) -> None:
        """Take nothing back."""

    def _calibrate(self) -> None:
        """Calibrate the spread of draws, on measured lines; see `rsd_med.inverse.spread_calibration`."""
        if self.settings.draws == 1:
            return
        draws = generator_for(self.seed, "spread", device=self.conditions.device)
        calibrate_spread(self.ema.module, self.score, self.conditions, draws)
        # The trained weights and their average say the same of it.
        self.network.shown_shares.copy_(self.ema.module.shown_shares)
        self.network.spreads.copy_(self.ema.module.spreads)

    @torch.no_grad()
    def evaluate(self, images: int) -> tuple[dict[str, float], Tensor]:
        """Return the energy score of hidden lines under fixed masks, and an image of each measurement."""
        if images >= self.images:
            self._calibrate()
        network = self.ema.module.settled()
        scores, drawn = [], []
        for start in range(0, min(self.settings.evaluate_samples, len(self.conditions)), BATCH):
            batch = self.conditions[start : start + BATCH]
            score, each = self.score(network, batch, generator_for(self.seed, "score", start, device=batch.device))
            scores.append(score.cpu())
            drawn.append(to_channels(each[:, 0]).cpu())
        return {"energy_score": float(torch.cat(scores).mean())}, torch.cat(drawn)


def _strip(measurement: Measurement, rows: slice) -> Measurement:
    assert isinstance(measurement.operator, MultiCoilFourier)
    operator, data = measurement.operator.strip(measurement.data, rows)
    return replace(measurement, operator=operator, data=data)
