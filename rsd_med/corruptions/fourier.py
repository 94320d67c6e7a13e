"""Single-coil Fourier undersampling of images: a scan with one coil that sees everything alike."""

from typing import Literal

from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling, UndersamplingSettings


class FourierSettings(UndersamplingSettings):
    """Cartesian undersampling of the k-space of images of one channel, or of single-coil scans.

    Real images are taken as magnitudes, black is 0, without a phase of their own.
    """

    kind: Literal["fourier"] = "fourier"

    def build(self) -> "SingleCoilUndersampling":
        """Return the corruption."""
        return SingleCoilUndersampling(
            acceleration=self.acceleration,
            acs_lines=self.acs_lines,
            pattern=self.pattern,
            removed_lines=self.further_lines,
            sigma=self.sigma,
        )


class SingleCoilUndersampling(MultiCoilUndersampling):
    """y = M F x + sigma e on the sampled entries: the multi-coil scan of one coil with sensitivity 1."""
