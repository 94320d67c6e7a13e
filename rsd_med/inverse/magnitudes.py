"""What is written and sent of a reconstruction: magnitudes as the file's own coils have them."""

import torch
from torch import Tensor

from rsd_med.inverse.base import Reconstruction
from rsd_med.inverse.scans import Prepared


def magnitudes(reconstruction: Reconstruction, prepared: Prepared) -> dict[str, Tensor]:
    """Return the magnitudes to be written, ``(y, x)`` in the units of the file and the shading of its coils."""
    scan = prepared.scan
    if reconstruction.coil_images is not None:
        coils = scan.coils.receive(reconstruction.coil_images)
        return {"mean": coils.abs().square().sum(0).sqrt() * scan.scale}
    images = {"mean": reconstruction.mean}
    if reconstruction.std is not None and reconstruction.interval is not None:
        images |= {"std": reconstruction.std, "lower": reconstruction.interval[0], "upper": reconstruction.interval[1]}
    return {name: (prepared.shown(image)[0] * scan.scale).to(torch.float32) for name, image in images.items()}
