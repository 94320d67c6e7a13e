"""The reconstructor: a network that was trained to reconstruct, asked once for each sample."""

from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.inverse.base import Progress, Solver, SolverSettings, sample_generators
from rsd_med.inverse.prior import Amortised, TrainedNetwork
from rsd_med.inverse.spread_calibration import own_spread
from rsd_med.operators.mri import MultiCoilFourier


class AmortisedReconstruction(Solver):
    """Ask the network; what it costs was paid in training.

    Parameters
    ----------
    settings
        Of this kind.
    trained
        The network.
    """

    settings: "ReconstructorSettings"

    def __init__(self, settings: "ReconstructorSettings", trained: Amortised) -> None:
        super().__init__(settings)
        self.trained = trained

    @torch.no_grad()
    def solve(self, measurement: Measurement, generator: Draws, progress: Progress) -> Tensor:
        """Draw all samples at once, in pairs: they share all that the network says."""
        self.trained.check(measurement)
        operator = measurement.operator
        if not isinstance(operator, MultiCoilFourier) or operator.mask.shape[-2] != 1:
            raise DataError(
                f"{measurement.ids[0]}: the reconstructor has learned from whole columns of k-space, and this scan has "
                "others; use a_dps or l1_wavelet."
            )
        network, count = self.trained.network, self.settings.samples
        progress(0.1)
        shape = (LATENTS, *measurement.size)
        if self.trained.point:  # it has learned without noise
            estimate: Tensor = network(measurement, torch.zeros(1, 1, *shape, device=measurement.device))
            return estimate[0]
        noise = torch.stack([one.normal(*shape) for one in sample_generators(-(-count // 2), generator)])
        least = None
        if self.settings.hidings:
            draws = generator_for(0, "own spread", measurement.ids[0], device=measurement.device)
            least = own_spread(network, measurement, self.settings.hidings, draws)
        return network.draw(measurement, noise[None].to(measurement.device), least or 0.0)[0, :count]


class ReconstructorSettings(SolverSettings):
    """One call of a network that has learned to reconstruct (docs/reconstructor.md)."""

    solver = AmortisedReconstruction
    needs = "reconstructor"
    takes_sets = False

    kind: Literal["reconstructor"] = "reconstructor"
    samples: PositiveInt = Field(8, description="posterior samples")
    hidings: int = Field(
        2,
        ge=0,
        description="how often lines of the scan itself are hidden and predicted: where that shows larger errors than "
        "in training, samples differ more; 0: never, which takes a third of the time",
    )

    def build(self, prior: TrainedNetwork | None = None) -> Solver:
        """Build the solver; ProtocolError without the network that it needs."""
        if not isinstance(prior, Amortised):
            raise ProtocolError(
                "--method reconstructor needs a run with a reconstructor: add a reconstructor section to the protocol "
                "and train with --stage reconstructor (docs/reconstructor.md)."
            )
        return AmortisedReconstruction(self, prior)
