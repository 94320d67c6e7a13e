"""A reconstructor held against methods without a prior, on scans whose images are known."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from torch import Tensor

from rsd_med.base.progress import watched
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Conditions, Measurement
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.inverse.base import Solver
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.prior import Amortised
from rsd_med.inverse.reconstructor import ReconstructorSettings
from rsd_med.inverse.uncertainty import coverage, rank_correlation
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.metrics.image_quality import psnr, ssim

SCANS = 32
"""Scans that are reconstructed, at most."""

HEAD = 0.1
"""Pixels brighter than this part of the peak count as inside."""


def evaluate_reconstructor(
    trained: Amortised, clean: MeasurementDataset, indices: Sequence[int], conditions: Conditions, seed: int
) -> dict[str, dict[str, float]]:
    """Reconstruct scans with masks of training, by the reconstructor, by L1-wavelet and by zero-filling.

    Parameters
    ----------
    trained
        The reconstructor.
    clean
        Fully sampled scans of the evaluation's reference.
    indices
        Its items of the training images' size.
    conditions
        Training measurements, whose masks are taken in turn.
    seed
        The run's.

    Returns
    -------
    dict[str, dict[str, float]]
        By method, means over scans of ``psnr`` in dB and ``ssim`` (each scan with its own peak), ``seconds``, and of
        the reconstructor ``coverage`` (share of the pixels inside that the 90 % interval covers) and ``rank``
        (correlation of spread with error there).
    """
    solvers: dict[str, Solver] = {
        "reconstructor": ReconstructorSettings().build(trained),
        "l1_wavelet": L1WaveletSettings().build(),
        "zero_filled": ZeroFilledSettings().build(),
    }
    step = max(1, len(indices) // SCANS)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in solvers}
    for number, index in enumerate(watched(indices[::step][:SCANS], "reconstructing scans of the reference")):
        truth = clean.reference(index).abs()
        measurement = _undersampled(clean[index], conditions, number)
        for name, solver in solvers.items():
            rows[name].append(_figures(solver, measurement.to(conditions.device), truth, seed))
    return {name: {key: mean(row[key] for row in each) for key in each[0]} for name, each in rows.items() if each}


def _undersampled(measurement: Measurement, conditions: Conditions, number: int) -> Measurement:
    """Return a fully sampled measurement under the mask of a training measurement; another one as it is."""
    place = number % len(conditions)
    like = conditions[place : place + 1]
    mask = like.operator.entries(like.data).cpu()
    part = measurement.operator.restricted(measurement.data, mask)
    if part is None or not bool(measurement.operator.entries(measurement.data).all()):
        return measurement
    return replace(measurement, operator=part[0], data=part[1])


def _figures(solver: Solver, measurement: Measurement, truth: Tensor, seed: int) -> dict[str, float]:
    draws = generator_for(seed, "evaluation", measurement.ids[0], device=measurement.device)
    result = solver(measurement, draws).to("cpu")
    figures = {
        "psnr": psnr(truth, result.magnitude),
        "ssim": ssim(truth, result.magnitude),
        "seconds": result.seconds,
    }
    if result.std is not None and result.interval is not None:
        inside = truth > HEAD * truth.max()
        figures["coverage"] = coverage(result.interval, truth, inside)
        figures["rank"] = rank_correlation(result.std, (result.magnitude - truth).abs(), inside)
    return figures
