"""Images are no scans: to be reconstructed, they are scanned by a simulated scanner of a few coils and little noise."""

import torch

from rsd_med.data.scan import Picture, Scan
from rsd_med.data.simulation import Scanner, magnitude

SIMULATED_COILS = 4


def simulate(picture: Picture) -> Scan:
    """Scan a picture with a simulated scanner of a few coils and little noise."""
    image = magnitude(picture)
    kspace, maps = Scanner(coils=SIMULATED_COILS, sigma=0.01, acceleration=None).scan(image, "picture")
    acquired = torch.ones(image.shape[-1], dtype=torch.bool)
    return Scan("picture", kspace, acquired, maps, geometry=picture.geometry)
