"""The noise level of a data set, from its measurements alone."""

import torch

from rsd_med.base.errors import DataError
from rsd_med.base.progress import watched
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.blind_noise import BlindEstimate, estimate_rician_noise, estimate_white_noise
from rsd_med.corruptions.rician import RicianMagnitude
from rsd_med.data.measurements import MeasurementDataset

IMAGES = 2000
"""Images that are looked at, if there are as many, …"""

PIXELS = 1 << 23
"""… and these pixels are not reached before."""

_FEWEST = 32


def estimate_noise_level(dataset: MeasurementDataset, seed: int) -> BlindEstimate:
    """Estimate the noise level that the images of a data set carry.

    A fixed sample, drawn with the seed, of the images of the most frequent shape.

    Parameters
    ----------
    dataset
        Noisy images; nothing but their measurements is looked at, and not what they claim sigma to be.
    seed
        Of the run.

    Raises
    ------
    DataError
        If there are too few images, or no noise can be found in them.
    """
    indices = max(dataset.groups().values(), key=len)
    order = torch.randperm(len(indices), generator=generator_for(seed, "noise level")).tolist()
    pixels = dataset[indices[0]].data[0, 0].numel()
    chosen = [indices[place] for place in order[: min(IMAGES, max(_FEWEST, PIXELS // pixels))]]
    dataset.expect(chosen)
    images = torch.cat([dataset[index].data for index in watched(chosen, "reading images for their noise")])
    estimator = estimate_white_noise
    if isinstance(dataset.corruption, RicianMagnitude):
        images, estimator = dataset.corruption.signal(images).abs(), estimate_rician_noise
    try:
        return estimator(images)
    except DataError as error:
        raise DataError(f"data: {error}") from error
