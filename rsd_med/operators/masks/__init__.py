"""Cartesian sampling masks: which columns of k-space, or which entries of its plane, are measured.

Masks are boolean in centred order (zero frequency at ``n // 2``). The central ACS is always measured and counted in the
budget; a mask comes within 2 % of the requested acceleration wherever a whole number of lines permits. A *further* mask
measures a subset, and never loses a part of the ACS.
"""

from rsd_med.operators.masks.budget import MaskDesign, achieved_acceleration, acs_slice, nearest_count
from rsd_med.operators.masks.further import further_entries, further_lines, further_mask
from rsd_med.operators.masks.lattice import equispaced_fraction_masks, equispaced_grid_masks
from rsd_med.operators.masks.lines import (
    equispaced_mask,
    equispaced_masks,
    partial_fourier_masks,
    random_mask,
    random_masks,
    variable_density_masks,
)
from rsd_med.operators.masks.plane import poisson_disk_masks, radial_masks
from rsd_med.operators.masks.sparser import sparser_masks

__all__ = [
    "MaskDesign",
    "achieved_acceleration",
    "acs_slice",
    "equispaced_fraction_masks",
    "equispaced_grid_masks",
    "equispaced_mask",
    "equispaced_masks",
    "further_entries",
    "further_lines",
    "further_mask",
    "nearest_count",
    "partial_fourier_masks",
    "poisson_disk_masks",
    "radial_masks",
    "random_mask",
    "random_masks",
    "sparser_masks",
    "variable_density_masks",
]
