"""The physics: linear operators with their adjoints, masks and noise. It knows torch and nothing else of ours."""

from rsd_med.operators.channels import to_channels, to_complex
from rsd_med.operators.fourier import CentredFourier, fft2c, ifft2c
from rsd_med.operators.linear import Identity, LinearOperator
from rsd_med.operators.masks import (
    achieved_acceleration,
    acs_slice,
    equispaced_mask,
    equispaced_masks,
    further_lines,
    further_mask,
    random_mask,
    random_masks,
)
from rsd_med.operators.mri import CoilMaps, MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.operators.nonuniform import MultiCoilNonUniformFourier
from rsd_med.operators.sampling import SamplingMask

__all__ = [
    "CentredFourier",
    "CoilMaps",
    "Identity",
    "LinearOperator",
    "MultiCoilFourier",
    "MultiCoilNonUniformFourier",
    "SamplingMask",
    "achieved_acceleration",
    "acs_slice",
    "complex_or_real_noise",
    "equispaced_mask",
    "equispaced_masks",
    "fft2c",
    "further_lines",
    "further_mask",
    "ifft2c",
    "random_mask",
    "random_masks",
    "to_channels",
    "to_complex",
]
