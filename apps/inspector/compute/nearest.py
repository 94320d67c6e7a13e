"""Which training measurement a sample is nearest to: of those that the run folder keeps, or of all, by one measure.

The sample is seen as the scanner would have seen it, through the coil maps and the sampled lines of a measurement,
A^H A x, and its magnitude is compared with that of A^H y. Distances are relative to the measurement: 0 is a copy,
about 1 has nothing in common. The whole training set is ranked first by how well the sample explains what was measured
(`rsd_med.metrics.nearest_measurements`); then the best of it are compared like those that are kept.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.base.progress import Progress
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.channels import to_channels, to_complex

from .model import Model


def nearest_of_kept(model: Model, images: np.ndarray, progress: Progress) -> dict[str, Any]:
    """Find the kept measurement that each image is nearest to.

    Parameters
    ----------
    model
        Whose run keeps measurements.
    images
        float32 (n, channels, y, x).
    progress
        Told how far it is.

    Returns
    -------
    dict[str, Any]
        ``index`` int (n,), ``distance`` float32 (n,), ``measurements`` float32 (n, channels, y, x): the nearest ones;
        ``searched``: how many there were; ``everything``: whether these are all there are.

    Raises
    ------
    DataError
        When the run folder keeps none.
    """
    measured = model.measured
    if measured is None:
        raise DataError("This run folder keeps no measurements to compare with (samples/gallery/measurements.npy).")
    x = torch.from_numpy(images).to(model.experiment.sampling_operators.device)
    distances = torch.empty(len(x), len(measured))
    for number, measurement in enumerate(measured.to(x.device)):
        distances[:, number] = _apart(x, model.experiment.sampling_operators, number, measurement)
        progress((number + 1) / len(measured))
    smallest = distances.min(1)
    return {
        "index": smallest.indices.numpy(),
        "distance": smallest.values.numpy(),
        "measurements": measured[smallest.indices].numpy(),
        "searched": len(measured),
        "everything": False,
    }


def nearest_of_all(model: Model, images: np.ndarray, progress: Progress) -> dict[str, Any]:
    """Find the measurement of the whole training set that each image is nearest to; see `nearest_of_kept`.

    Read for the first time, the training set takes a while. ``index`` counts through it.

    Raises
    ------
    DataError
        When the training data are not here.
    """
    from rsd_med.metrics.nearest_measurements import SHORTLIST, nearest_measurements

    dataset, group = model.experiment.dataset, model.experiment.main_group
    best = min(SHORTLIST, len(group))
    listed = nearest_measurements(torch.from_numpy(images), dataset, group, best, progress=progress).indices
    answers = []
    for image, candidates in zip(torch.from_numpy(images), listed.tolist(), strict=True):
        items = [dataset[index] for index in candidates]
        adjoints = [to_channels(item.image())[0] for item in items]
        distances = [
            float(_apart(image[None].to(item.device), item, 0, there))
            for item, there in zip(items, adjoints, strict=True)
        ]
        place = int(np.argmin(distances))
        answers.append((candidates[place], distances[place], adjoints[place].cpu().numpy()))
    answers = _or_kept(model, images, answers)
    index, distance, measurements = zip(*answers, strict=True)
    return {
        "index": np.array(index),
        "distance": np.array(distance, np.float32),
        "measurements": np.stack(measurements),
        "searched": len(group),
        "everything": True,
    }


def _or_kept(
    model: Model, images: np.ndarray, answers: list[tuple[int, float, np.ndarray]]
) -> list[tuple[int, float, np.ndarray]]:
    """Take a kept measurement where it is nearer: they are of the training set, too."""
    if model.measured is None:
        return answers
    few, numbers = nearest_of_kept(model, images, lambda _: None), model.experiment.measurements.indices
    return [
        (numbers[few["index"][row]], float(few["distance"][row]), few["measurements"][row])
        if few["distance"][row] < answer[1]
        else answer
        for row, answer in enumerate(answers)
    ]


def _apart(x: Tensor, conditions: Measurement, number: int, measured: Tensor) -> Tensor:
    """Return how far images (n, channels, y, x) are from one measurement, (channels, y, x), seen by its operator."""
    projected = x
    if conditions.operator.complex_domain:
        operator = conditions.operator[torch.full((len(x),), number)]
        projected = to_channels(operator.normal(to_complex(x)))
    gap = _magnitude(projected) - _magnitude(measured[None])
    size = _magnitude(measured[None]).square().sum().sqrt().clamp_min(1e-6)
    return (gap.square().sum((1, 2, 3)).sqrt() / size).cpu()


def _magnitude(images: Tensor) -> Tensor:
    return images.square().sum(1, keepdim=True).sqrt() if images.shape[1] == 2 else images
