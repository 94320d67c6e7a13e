"""Multi-coil MRI with several sets of coil maps: soft-SENSE, for a field of view smaller than the object."""

from typing import ClassVar

import torch
from torch import Tensor

from rsd_med.operators.coil_power import coil_power
from rsd_med.operators.mri import MultiCoilFourier


class SoftSense(MultiCoilFourier):
    """The scan M F Σ_m S_m x_m of several images x_m, each with its own set of coil maps.

    Where the object is larger than the field of view, two places of it fall on one pixel, and each has its own coil
    sensitivities: no single map per coil describes their sum. ESPIRiT finds as many maps as it takes, orthonormal at
    every pixel; with two sets an image has two parts, and what is shown is the root of their sum of squares.

    Maps images ``(*batch, set, y, x)`` to k-space ``(*batch, coil, y, x)``, zero where not sampled. Computed as
    `MultiCoilFourier`: one transform for each coil, however many sets there are.

    Parameters
    ----------
    mask
        Boolean ``(*batch, 1, 1, x)`` or ``(*batch, 1, y, x)``, centred order, True where sampled.
    maps
        Complex coil maps ``(*batch, set, coil, y, x)``.

    Raises
    ------
    ValueError
        If types or shapes of mask and maps do not fit.

    References
    ----------
    Uecker et al., ESPIRiT: an eigenvalue approach to autocalibrating parallel MRI, Magn. Reson. Med. 71, 2014, eq. 19.
    """

    item_tensors: ClassVar[dict[str, int]] = {"mask": 3, "maps": 4}

    def __init__(self, mask: Tensor, maps: Tensor) -> None:
        if maps.ndim < 4:
            raise ValueError(f"Sets of coil maps have the shape (*batch, set, coil, y, x), not {tuple(maps.shape)}.")
        super().__init__(mask, maps)

    @property
    def sets(self) -> int:
        """The number of sets."""
        return self.maps.shape[-4]

    def apart(self) -> MultiCoilFourier:
        """Return the scans of each set alone, as items ``item 0 set 0, item 0 set 1, …`` of a batch."""
        return MultiCoilFourier(self.mask.repeat_interleave(self.sets, 0), self.maps.flatten(0, 1))

    def first_set(self) -> MultiCoilFourier:
        """Return the scan by the first set of maps alone."""
        return MultiCoilFourier(self.mask, self.maps[..., 0, :, :, :])

    def support(self) -> Tensor:
        """Return where any coil sees each image, bool ``(*batch, set, y, x)``."""
        return (self.maps != 0).any(-3)

    def normal_diagonal(self, image: Tensor) -> Tensor:
        """Return the sampled share of k-space times Σ_c |S_mc|²."""
        return self.mask.to(image.real.dtype).mean((-2, -1), keepdim=True) * coil_power(self.maps).squeeze(-3)

    def largest_eigenvalue(self, image: Tensor) -> Tensor:
        """Return the largest row sum of |S_m^H S_n| of all pixels: 1 for orthonormal maps, else a bound from above."""
        products = torch.einsum("...mcyx,...ncyx->...mnyx", self.maps.conj(), self.maps).abs()
        return products.sum(-3).amax((-3, -2, -1)).reshape(-1).expand(len(image))

    def _spread(self, maps: Tensor, image: Tensor) -> Tensor:
        """Return Σ_m S_m x_m."""
        return (maps * image.unsqueeze(-3)).sum(-4)

    def _gather(self, maps: Tensor, coil_images: Tensor) -> Tensor:
        """Return sum_c S_mc x_c for every set m."""
        return (maps * coil_images.unsqueeze(-4)).sum(-3)


def multicoil_fourier(mask: Tensor, maps: Tensor) -> MultiCoilFourier:
    """Return the scan of a batch: with maps ``(b, coil, y, x)``, or several sets of them ``(b, set, coil, y, x)``."""
    return SoftSense(mask, maps) if maps.ndim == 5 else MultiCoilFourier(mask, maps)
