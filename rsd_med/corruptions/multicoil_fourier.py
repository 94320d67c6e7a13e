"""Multi-coil Fourier undersampling: only some k-space columns are measured."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.masks import equispaced_masks, further_lines, further_mask, random_masks
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise

Pattern = Literal["random", "equispaced"]
MaskOrigin = Literal["draw", "file"]


class MultiCoilFourierSettings(Settings):
    """Cartesian undersampling of multi-coil k-space along x, the phase encoding.

    Attributes
    ----------
    acceleration
        R: one in R columns is measured.
    acs_lines
        Number of central columns that are always measured.
    pattern
        How the other columns are drawn: uniformly at random, or evenly spaced with a random offset.
    mask
        "draw": the files are fully sampled, and undersampling them is simulated.
        "file": they are undersampled already, and their own masks are used.
    further_lines
        How many columns further corruption removes; by default as many as from R to R + 1.
    sigma
        Standard deviation per real component, in scaled units, of noise that is added to the measured entries.
    """

    kind: Literal["multicoil_fourier"] = "multicoil_fourier"
    acceleration: float = Field(ge=1)
    acs_lines: int = Field(ge=0)
    pattern: Pattern = "random"
    mask: MaskOrigin = "draw"
    further_lines: int | None = Field(default=None, ge=0)
    sigma: float = Field(default=0.0, ge=0)

    def build(self) -> "MultiCoilUndersampling":
        """Return the corruption."""
        return MultiCoilUndersampling(
            acceleration=self.acceleration,
            acs_lines=self.acs_lines,
            pattern=self.pattern,
            mask=self.mask,
            removed_lines=self.further_lines,
            sigma=self.sigma,
        )


class MultiCoilUndersampling(Corruption):
    """y = M F S x + sigma e on the sampled entries, with the columns of M drawn at random.

    Parameters
    ----------
    acceleration, acs_lines, pattern, mask, sigma
        As in `MultiCoilFourierSettings`.
    removed_lines
        How many columns further corruption removes; None for the rule of `further_lines`.

    References
    ----------
    Aali et al., Ambient diffusion posterior sampling, ICLR 2025 (masks and further masks).
    """

    def __init__(
        self,
        acceleration: float,
        acs_lines: int,
        *,
        pattern: Pattern = "random",
        mask: MaskOrigin = "draw",
        removed_lines: int | None = None,
        sigma: float = 0.0,
    ) -> None:
        self.acceleration = acceleration
        self.acs_lines = acs_lines
        self.pattern = pattern
        self.mask = mask
        self.removed_lines = removed_lines
        self.sigma = sigma

    def draw_mask(self, width: int, generator: torch.Generator, acquired: Tensor | None = None) -> Tensor:
        """Draw the mask of one scan.

        Parameters
        ----------
        width
            Number of k-space columns.
        generator
            The source of randomness.
        acquired
            Boolean ``(width,)``: the columns that exist at all; by default every one.

        Returns
        -------
            Boolean ``(width,)``.

        Raises
        ------
        ProtocolError
            If acceleration and ACS lines cannot be met for this width.
        """
        return self._draw_masks(1, width, generator, acquired)[0]

    def draw(self, like: Measurement, generator: torch.Generator) -> MultiCoilFourier:
        """Draw fresh masks for the coil maps of ``like``.

        Where the masks come from the files, their distribution is known only through them: fresh masks are then
        those of ``like``, resampled with replacement.

        Raises
        ------
        ProtocolError
            If acceleration and ACS lines cannot be met, or if ``like`` are no multi-coil measurements.
        """
        operator = _multicoil(like.operator)
        maps = operator.maps
        items, width = len(like), maps.shape[-1]
        if self.mask == "file":
            chosen = torch.randint(items, (items,), generator=generator, device=generator.device)
            mask = operator.mask.expand(items, *operator.mask.shape[-3:])[chosen.to(maps.device)]
        else:
            mask = self._draw_masks(items, width, generator)[:, None, None, :].to(maps.device)
        return MultiCoilFourier(mask, maps)

    def further(self, operator: LinearOperator, generator: torch.Generator) -> MultiCoilFourier:
        """Remove measured columns outside the ACS from each mask.

        Raises
        ------
        ProtocolError
            If a mask has too few columns, or if the operator is no multi-coil one with column masks.
        """
        operator = _multicoil(operator)
        if operator.mask.shape[-2] != 1:
            msg = "corruption: further undersampling removes whole k-space columns, and this mask varies along y."
            raise ProtocolError(msg)
        try:
            removed = self.removed_lines
            if removed is None:
                removed = further_lines(operator.mask.shape[-1], self.acceleration)
            mask = further_mask(operator.mask, self.acs_lines, removed, generator)
        except ValueError as error:
            msg = f"corruption.further_lines: {error}"
            raise ProtocolError(msg) from error
        return MultiCoilFourier(mask, operator.maps)

    def add_noise(self, data: Tensor, operator: LinearOperator, generator: torch.Generator) -> Tensor:
        """Add noise to the sampled entries of k-space ``(b, coil, y, x)``; the others stay exactly zero."""
        if not self.sigma:
            return data
        noise = complex_or_real_noise(data, self.sigma, generator)
        return data + noise.masked_fill_(~_multicoil(operator).mask, 0)

    def _draw_masks(self, items: int, width: int, generator: torch.Generator, acquired: Tensor | None = None) -> Tensor:
        draw = random_masks if self.pattern == "random" else equispaced_masks
        try:
            return draw(items, width, self.acceleration, self.acs_lines, generator, acquired)
        except ValueError as error:
            msg = f"corruption.acceleration, corruption.acs_lines: {error}"
            raise ProtocolError(msg) from error


def _multicoil(operator: LinearOperator) -> MultiCoilFourier:
    if not isinstance(operator, MultiCoilFourier):
        msg = (
            "corruption.kind: multicoil_fourier needs multi-coil k-space, and these data are images: "
            "choose a data source of scans, or another corruption."
        )
        raise ProtocolError(msg)
    return operator
