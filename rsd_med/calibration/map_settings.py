"""How coil maps are found."""

from typing import Literal

from pydantic import Field, model_validator

from rsd_med.base.settings import Settings

FEW_LINES = 12
"""Centres below leave ESPIRiT's kernel of 6 too few neighbourhoods; there ``auto`` takes NLINV."""


class CoilMapSettings(Settings):
    """How coil maps are found."""

    kind: Literal["auto", "espirit", "nlinv", "walsh", "file", "ones"] = Field(
        "auto",
        description="`file` takes maps of a file, `espirit`, `nlinv` and `walsh` estimate them, `ones` does without "
        "(single coil). `auto` takes the first that applies: one coil → ones; maps in a file → file; a centre of at "
        "least 12 lines → espirit; a smaller one → nlinv, which looks at lines beyond the centre, too. Maps that do "
        "not explain the data are passed over; if none do, those that leave least of the centre unexplained are taken",
    )
    file: str | None = Field(
        None,
        description="file of coil maps in place of those stored with the scan: BART's .cfl and .hdr, .npy, or HDF5; a "
        "relative path starts from the protocol's folder, on the command line from the working directory",
    )
    sets: Literal["auto", 1, 2] = Field(
        "auto",
        description="maps of each coil. 2: soft-SENSE, where the field of view is smaller than the object and two "
        "places fall on one pixel. `auto`: 2 where ESPIRiT's second eigenvalue asks for it. Training takes 1",
    )
    calibration_width: int = Field(24, ge=4, le=128, description="widest central square that is used")
    kernel_width: int = Field(
        6,
        ge=2,
        le=16,
        description="ESPIRiT's kernel; made smaller when the centre is, by `auto` below 12 lines to 4 or 3",
    )
    threshold: float = Field(
        0.02, gt=0, lt=1, description="singular values below this fraction of the largest belong to noise (ESPIRiT)"
    )
    crop: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="pixels whose ESPIRiT eigenvalue lies below hold no signal: their maps are zero. `auto` lowers it "
        "below 12 lines, to 0.8 or 0.5, and to 0.8 for two sets",
    )
    iterations: int = Field(64, ge=1, le=4096, description="power iterations of ESPIRiT, rounded up to a power of two")
    walsh_patch: int = Field(
        9,
        ge=1,
        description="side, in pixels, of the neighbourhood over which `walsh` averages; an even one counts as the "
        "next odd one",
    )
    walsh_support: float = Field(
        0.02, ge=0, lt=1, description="pixels darker than this fraction of the brightest hold no signal (`walsh`)"
    )
    cache: bool = Field(True, description="keep ESPIRiT's maps on disk; the second run starts at once")
    cache_dir: str | None = Field(None, description="where; null is `rsd_med` in the user's cache folder")

    @model_validator(mode="after")
    def _check(self) -> "CoilMapSettings":
        if self.sets == 2 and self.kind in ("nlinv", "walsh", "ones"):
            raise ValueError(f"`{self.kind}` gives one map of each coil; for sets: 2 set kind: espirit, file or auto")
        if self.file is not None and self.kind not in ("auto", "file"):
            raise ValueError(f"`file` names maps, and kind: {self.kind} takes none; set kind: file")
        return self
