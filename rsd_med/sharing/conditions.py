"""What the networks of a run are shown images through, as tensors that anyone can store."""

import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.experiment import Experiment
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.sampling import SamplingMask
from rsd_med.sharing.graphs import Conditions


def draw_conditions(experiment: Experiment, count: int) -> Conditions:
    """Draw masks, with coil maps of the training data, as the networks were shown images in training.

    Parameters
    ----------
    experiment
        The run's; its data are not needed.
    count
        How many.

    Raises
    ------
    ProtocolError
        If the networks see images in a way that no exported form has.
    """
    objective = experiment.objective
    if not objective.context_channels:
        return Conditions()
    draws = generator_for(experiment.protocol.seed, "conditions")
    stored = experiment.sampling_operators.to("cpu")
    like = stored[draws.integers(len(stored), count)]
    operator = objective.further(experiment.corruption.draw(like, draws), draws)
    mask = getattr(operator, "mask", torch.empty(0)).to(torch.float32)
    if isinstance(operator, SamplingMask):
        return Conditions(mask)
    if isinstance(operator, MultiCoilFourier):
        height, width = operator.maps.shape[-2:]
        return Conditions(
            mask.expand(-1, -1, height, width).contiguous(),
            torch.stack([operator.maps.real, operator.maps.imag], dim=1),
        )
    raise ProtocolError(f"networks that see images through {type(operator).__name__} cannot be exported.")
