"""Multi-coil Fourier undersampling: only some k-space columns are measured."""

from collections.abc import Callable
from typing import Literal, get_args

from jaxtyping import Inexact
from pydantic import Field
from torch import Tensor

from rsd_med.base import later
from rsd_med.base.devices import sent
from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.base import Corruption, CorruptionSettings
from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import LinearOperator
from rsd_med.operators.masks import (
    MaskDesign,
    equispaced_fraction_masks,
    equispaced_grid_masks,
    equispaced_masks,
    further_entries,
    further_lines,
    further_mask,
    partial_fourier_masks,
    poisson_disk_masks,
    radial_masks,
    random_masks,
    variable_density_masks,
)
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise
from rsd_med.operators.soft_sense import multicoil_fourier

LinePattern = Literal[
    "random", "equispaced", "equispaced_fraction", "equispaced_grid", "variable_density", "partial_fourier"
]
"""Patterns of whole columns."""

PlanePattern = Literal["poisson_disk", "radial"]
"""Patterns that vary along y too."""

Pattern = LinePattern | PlanePattern
MaskOrigin = Literal["draw", "file"]


class UndersamplingSettings(CorruptionSettings):
    """Cartesian undersampling of k-space."""

    acceleration: float = Field(
        ge=1, description="R: one in R columns (of patterns in the plane: entries) is measured, the ACS included"
    )
    acs_lines: int = Field(
        ge=0,
        description="number of central columns (of patterns in the plane: side of the central square) that are always "
        "measured",
    )
    pattern: Pattern = Field(
        "random",
        description="how the other columns are drawn. `random`: uniformly; `variable_density`: rarer outwards; "
        "`equispaced`: evenly spaced outside the ACS; `equispaced_fraction`: evenly spaced throughout, fastMRI's "
        "adjusted spacing; `equispaced_grid`: every s-th column, s whole; `partial_fourier`: all but one end. In the "
        "plane: `poisson_disk` and `radial` spokes on the grid",
    )
    further_lines: int | None = Field(
        None,
        ge=0,
        description="how many columns (in the plane: columns' worth of entries) further corruption removes; by "
        "default as many as from R to R + 1",
    )
    sigma: float = Field(
        0.0,
        ge=0,
        description="standard deviation per real component, in scaled units, of noise that is added to the measured "
        "entries",
    )


class MultiCoilFourierSettings(UndersamplingSettings):
    """Cartesian undersampling of multi-coil k-space."""

    kind: Literal["multicoil_fourier"] = "multicoil_fourier"
    mask: MaskOrigin = Field(
        "draw",
        description='"draw": the files are fully sampled, and undersampling them is simulated. "file": they are '
        "undersampled already, and their own masks are used",
    )

    def build(self) -> "MultiCoilUndersampling":
        """Return the corruption."""
        return MultiCoilUndersampling(self, self.mask)


class MultiCoilUndersampling(Corruption):
    """y = M F S x + sigma e on the sampled entries, with M drawn at random.

    Parameters
    ----------
    settings
        Acceleration, pattern, noise.
    mask
        As in `MultiCoilFourierSettings`.
    single_coil
        Whether images are scanned by one coil that sees everything alike: y = M F x + sigma e.

    References
    ----------
    Aali et al., Ambient diffusion posterior sampling, ICLR 2025 (masks and further masks).
    """

    noise_everywhere = False

    def __init__(
        self, settings: UndersamplingSettings, mask: MaskOrigin = "draw", *, single_coil: bool = False
    ) -> None:
        self.settings = settings
        self.sigma = settings.sigma
        self.mask = mask
        self.single_coil = single_coil

    @property
    def in_the_plane(self) -> bool:
        """Whether the pattern varies along y too."""
        return self.settings.pattern in get_args(PlanePattern)

    def at_width(self, width: int, trained: int) -> "MultiCoilUndersampling":
        """Return the same undersampling of k-space with another number of columns.

        The acceleration stays; central and further removed columns keep their share. Masks are drawn: those of files
        fit no other width.

        Parameters
        ----------
        width, trained
            Columns of k-space: wanted, and those that this corruption is meant for.
        """
        removed = self.settings.further_lines
        changes = {
            "acs_lines": round(self.settings.acs_lines * width / trained),
            "further_lines": removed and max(1, round(removed * width / trained)),
        }
        return MultiCoilUndersampling(self.settings.model_copy(update=changes), single_coil=self.single_coil)

    def draw_mask(self, width: int, draws: Draws, acquired: Tensor | None = None, rows: int | None = None) -> Tensor:
        """Draw the mask of one scan.

        Parameters
        ----------
        width
            Number of k-space columns.
        draws
            The source of randomness.
        acquired
            Boolean ``(width,)``: the columns that exist at all; by default every one.
        rows
            Number of k-space rows, which patterns in the plane need.

        Returns
        -------
        Tensor
            Boolean ``(width,)``, or ``(rows, width)`` for patterns in the plane.

        Raises
        ------
        ProtocolError
            If acceleration and ACS lines cannot be met for this width.
        """
        return self._draw_masks(1, width, draws, acquired, rows)[0]

    def draw(self, like: Measurement, draws: Draws) -> MultiCoilFourier:
        """Draw fresh masks for the coil maps of ``like``.

        Where the masks come from the files, their distribution is known only through them, together with that of the
        coil maps: then the operators are those of ``like``, measurements drawn from the data by chance. Masks that
        are drawn leave out the columns that some of ``like`` lack.

        Raises
        ------
        ProtocolError
            If acceleration and ACS lines cannot be met, or if ``like`` are no multi-coil measurements.
        """
        maps = like.operator.coil_maps
        if self.mask == "file" or maps is None:
            return _multicoil(like.operator)
        # The same for all of a batch: its files come from one scanner protocol as a rule.
        acquired = None if like.acquired is None else like.acquired.all(0)
        # On the CPU: a pattern asks for its own numbers as it goes, and a GPU would be waited for each time.
        drawn = self._draw_masks(len(like), maps.shape[-1], draws.host, acquired, maps.shape[-2])
        drawn = sent(drawn, maps.device)
        mask = drawn[:, None] if self.in_the_plane else drawn[:, None, None]
        measured = like.operator.entries(like.data)
        if measured.shape[-2] != 1 and not self.in_the_plane:
            mask = mask & measured.any(-1, keepdim=True)  # rows that an asymmetric echo never reaches
        return multicoil_fourier(mask, maps)

    def further(self, operator: LinearOperator, draws: Draws) -> MultiCoilFourier:
        """Remove measured columns, or entries of a pattern in the plane, outside the ACS from each mask.

        Raises
        ------
        ProtocolError
            If a mask has too few columns, or if the operator is no multi-coil one with column masks.
        """
        operator = _multicoil(operator)
        rows, width = operator.mask.shape[-2:]
        columns = operator.mask.any(-2, keepdim=True)
        if rows > 1 and not self.in_the_plane:
            later.require((operator.mask == (columns & operator.mask.any(-1, keepdim=True))).all(), _varies_along_y)
        try:
            if not self.in_the_plane:
                removed = self.settings.further_lines
                removed = further_lines(width, self.settings.acceleration) if removed is None else removed
                mask = operator.mask & further_mask(columns, self.settings.acs_lines, removed, draws, _refused)
            else:
                removed = None if self.settings.further_lines is None else self.settings.further_lines * rows
                removed = further_lines(rows * width, self.settings.acceleration) if removed is None else removed
                mask = further_entries(operator.mask, self.settings.acs_lines, removed, draws, _refused)
        except ValueError as error:
            raise _refused(str(error)) from error
        return operator.with_mask(mask)

    def add_noise(
        self, data: Inexact[Tensor, "b ..."], operator: LinearOperator, draws: Draws
    ) -> Inexact[Tensor, "b ..."]:
        """Add noise to the sampled entries of k-space ``(b, coil, y, x)``; the others stay exactly zero."""
        if not self.sigma:
            return data
        noise = complex_or_real_noise(data, self.sigma, draws)
        return data + noise.masked_fill_(~operator.entries(data), 0)

    def _draw_masks(
        self,
        items: int,
        width: int,
        draws: Draws,
        acquired: Tensor | None = None,
        rows: int | None = None,
    ) -> Tensor:
        settings = self.settings
        try:
            design = MaskDesign(width, settings.acceleration, settings.acs_lines, acquired, rows or 1)
            if settings.pattern == "poisson_disk" or settings.pattern == "radial":
                if rows is None:
                    raise ValueError(f"The pattern {settings.pattern} needs the number of rows.")
                draw_plane = poisson_disk_masks if settings.pattern == "poisson_disk" else radial_masks
                return draw_plane(design, items, draws)
            return draw_lines(settings.pattern)(design, items, draws)
        except ValueError as error:
            raise ProtocolError(f"corruption.acceleration, corruption.acs_lines: {error}") from error


def draw_lines(pattern: LinePattern) -> Callable[..., Tensor]:
    """Return the function that draws masks of whole columns of a pattern; called as `random_masks`."""
    known: dict[LinePattern, Callable[..., Tensor]] = {
        "random": random_masks,
        "equispaced": equispaced_masks,
        "equispaced_fraction": equispaced_fraction_masks,
        "equispaced_grid": equispaced_grid_masks,
        "variable_density": variable_density_masks,
        "partial_fourier": partial_fourier_masks,
    }
    return known[pattern]


def _refused(reason: str) -> ProtocolError:
    return ProtocolError(f"corruption.further_lines: {reason}")


def _varies_along_y() -> ProtocolError:
    return ProtocolError(
        "corruption: further undersampling removes whole k-space columns, and this mask varies along y."
    )


def _multicoil(operator: LinearOperator) -> MultiCoilFourier:
    if not isinstance(operator, MultiCoilFourier):
        raise ProtocolError(
            "corruption.kind: multicoil_fourier needs multi-coil k-space, and these data are images: "
            "choose a data source of scans, or another corruption."
        )
    return operator
