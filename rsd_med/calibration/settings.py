"""Which steps of calibration a scan goes through."""

from typing import Literal

from pydantic import Field

from rsd_med.base.settings import Settings
from rsd_med.calibration.map_settings import CoilMapSettings


class CalibrationSettings(Settings):
    """From a raw scan to a measurement; the same in training, evaluation, reconstruction and the app."""

    noise: Literal["auto", "scan", "edges", "background", "none"] = Field(
        "auto",
        description="where the noise is measured: the file's noise scan, the edges of k-space, the background of the "
        "image, nowhere; auto: the noise scan where it has 10 samples a coil, else the scan itself",
    )
    whiten: bool = Field(True, description="combine the coils so that their noise is uncorrelated and equally strong")
    virtual_coils: int | None = Field(
        None, ge=1, description="compress to so many coils, where there are more; null: keep all"
    )
    compression: Literal["svd", "geometric"] = Field(
        "svd", description="svd: one combination for the slice; geometric: one for each position along the readout"
    )
    maps: CoilMapSettings = Field(default_factory=CoilMapSettings, description="how coil maps are found")
    check_maps: bool = Field(True, description="refuse coil maps of a file that do not explain its data")

    def with_one_set(self) -> "CalibrationSettings":
        """Return the settings with one map of each coil: what a network learns from, and samples off the grid, have."""
        return self.model_copy(update={"maps": self.maps.model_copy(update={"sets": 1})})

    def without_noise(self) -> "CalibrationSettings":
        """Return the settings for scans that are known to hold no noise."""
        return self.model_copy(update={"noise": "none"})
