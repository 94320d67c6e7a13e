"""Why an image does not explain its measurement: the likeliest cause, and what to do about it."""

from typing import Any

import torch

from rsd_med.calibration.coil_maps import NEEDED
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.consistency import CENTRE, LIMIT, RELATIVE_LIMIT, Consistency, consistency
from rsd_med.operators.conjugate_gradient import conjugate_gradient

FEW_LINES, FEW_FOR_WALSH = 12, 16
"""With fewer central lines, estimated coil maps are rough; those by Walsh's method sooner."""

EMPTY = 0.1
"""Lines whose mean power is below this part of the noise's were not measured."""

WEIGHT = 1e-4
"""Regularisation of the least-squares image, beside a largest eigenvalue of A^H A of 1."""


def likely_cause(measurement: Measurement, report: dict[str, Any], *, learned: bool, one_set: bool = False) -> str:
    """Say why an image that some method made of a measurement does not explain it, and what to do.

    The question that decides is whether any image would: the least-squares image is asked. If it does not explain the
    measurement either, then what was assumed of the scanner is wrong, and no method can mend it. If it does, the
    method led away from it.

    Parameters
    ----------
    measurement
        A batch of one.
    report
        What calibration found out.
    learned
        Whether the method has a prior.
    one_set
        Whether the method takes the first set of coil maps alone, whatever the scan has.

    Returns
    -------
    str
        One sentence.
    """
    empty, lines = _empty_lines(measurement)
    if empty:
        return (
            f"{empty} of the {lines} lines that count as measured hold less than the noise: the mask is wrong; mark "
            "them as not measured."
        )
    if one_set and measurement.operator.sets > 1:
        return (
            "the field of view is smaller than the object, and this method takes one map of each coil, which is wrong "
            "where two places fall on one pixel; l1_wavelet and a_dps take two."
        )
    best = consistency(_least_squares(measurement), measurement)
    if best.explains:
        return _of_method(learned)
    return _of_scanner(best, report)


def _of_method(learned: bool) -> str:
    if learned:
        return (
            "other images explain it, so the prior leads away from the scan: it fits another anatomy, contrast or "
            "resolution; use l1_wavelet, or let --method auto choose."
        )
    return "other images explain it, so the method smooths too much: lower its regularisation, or take more iterations."


def _of_scanner(best: Consistency, report: dict[str, Any]) -> str:
    centre = next((part for part in best.parts if part.part == CENTRE), best.worst)
    outermost = best.parts[-1].noise_ratio
    # Wrong maps leave a part of the signal, which is strong near the centre; noise is as strong everywhere.
    if centre.relative <= RELATIVE_LIMIT and outermost is not None and outermost > LIMIT:
        return (
            "no image explains it, though the centre fits: the noise is stronger than was estimated, or some lines are "
            "disturbed (motion, spikes); see --noise."
        )
    maps, lines = report.get("maps", {}), report.get("sampling", {}).get("acs", 0)
    if maps.get("kind") == "file":
        return "no image explains it: the coil maps of the file belong to another scan; have them estimated."
    if lines < (FEW_FOR_WALSH if maps.get("kind") == "walsh" else FEW_LINES):
        return (
            f"no image explains it: coil maps from only {lines} central lines are too rough; measure more of them, or "
            "give maps from another scan of the same coils."
        )
    if maps.get("sets", 1) > 1:
        return (
            "no image explains it, though two maps of each coil were taken: more than two places fall on one pixel, or "
            "something moved; a larger field of view would tell."
        )
    share = maps.get("second_eigenvalue")
    certainly = share is not None and share > NEEDED
    return (
        "no image explains it: one coil map per pixel does not describe this scan, "
        + (f"in {share:.0%} of its signal, " if certainly else "most likely ")
        + "because the object is larger than the field of view and wraps around; use two maps per pixel "
        f"(calibration.maps.sets: {'auto' if certainly else '2'}), or a larger field of view."
    )


def _empty_lines(measurement: Measurement) -> tuple[int, int]:
    """Return how many of the columns that count as measured hold less than noise, and how many there are."""
    data, sigma = measurement.data, float(measurement.sigma[0])
    entries = measurement.operator.entries(data).expand_as(data)
    if data.ndim != 4 or data.shape[-2] == 1 or sigma == 0:
        return 0, 0
    counts = entries[0].sum((0, 1))
    power = data[0].abs().square().sum((0, 1)) / (2 * sigma**2 * counts.clamp_min(1))
    return int(((counts > 0) & (power < EMPTY)).sum()), int((counts > 0).sum())


@torch.no_grad()
def _least_squares(measurement: Measurement) -> torch.Tensor:
    operator, adjoint = measurement.operator, measurement.image()
    weight = WEIGHT * float(operator.largest_eigenvalue(adjoint))
    solution = conjugate_gradient(lambda x: operator.normal(x) + weight * x, adjoint, 40, tolerance=1e-5)
    return (solution * operator.support())[0]
