"""Single-coil Fourier undersampling of images: a scan with one coil that sees everything alike."""

from typing import Literal

from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling, UndersamplingSettings


class FourierSettings(UndersamplingSettings):
    """Cartesian undersampling of the k-space of images of one channel, or of single-coil scans.

    Real images are taken as magnitudes, black is 0, without a phase of their own.
    """

    kind: Literal["fourier"] = "fourier"

    def build(self) -> MultiCoilUndersampling:
        """Return the corruption."""
        return MultiCoilUndersampling(self, single_coil=True)
