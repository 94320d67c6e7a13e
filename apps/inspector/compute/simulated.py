"""Images are no scans: to be reconstructed, they are scanned by a simulated scanner of a few coils and little noise."""

import torch

from rsd_med.data.scan import Picture, Scan
from rsd_med.data.simulation import Scanner, magnitude

SIMULATED_COILS = 4
"""Of a run whose own scans have none."""

NOISE = 0.005
"""Of each coil and part, in shares of white: little, but enough to be seen in a coil's own image."""


def simulate(picture: Picture, coils: int = SIMULATED_COILS) -> Scan:
    """Scan a picture with a simulated scanner of little noise; the picture's id draws its phase and the coils."""
    image = magnitude(picture)
    kspace, maps = Scanner(coils=coils, sigma=NOISE, acceleration=None).scan(image, picture.id)
    acquired = torch.ones(image.shape[-1], dtype=torch.bool)
    return Scan(picture.id, kspace, acquired, maps, geometry=picture.geometry)
