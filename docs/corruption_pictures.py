"""Draw a knee of the phantom under every corruption to images/corruptions.png: `python docs/corruption_pictures.py`."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import NoCorruptionSettings, NoiseSettings
from rsd_med.corruptions.base import ImageCorruption
from rsd_med.corruptions.blur import BlurSettings
from rsd_med.corruptions.fourier import FourierSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.corruptions.kspace_motion import KSpaceMotionSettings
from rsd_med.corruptions.motion_blur import MotionBlurSettings
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings, MultiCoilUndersampling
from rsd_med.corruptions.poisson import PoissonSettings
from rsd_med.corruptions.rician import RicianSettings
from rsd_med.corruptions.super_resolution import SuperResolutionSettings
from rsd_med.corruptions.tomography import SparseViewSettings
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.operators.mri import MultiCoilFourier

SIZE, COLUMNS, TITLE = 192, 4, 18
WHITE = 1.25  # the fixed display window of magnitudes, in scaled units
OF_MAGNITUDES = {
    "none": NoCorruptionSettings(),
    "noise, sigma 0.2": NoiseSettings(sigma=0.2),
    "blur": BlurSettings(),
    "blur + noise, sigma 0.2": BlurSettings(sigma=0.2),
    "motion_blur": MotionBlurSettings(side=15, shortest=14, longest=14),
    "super_resolution by 2": SuperResolutionSettings(),
    "super_resolution by 4": SuperResolutionSettings(factor=4),
    "inpainting, 60 % missing": InpaintingSettings(missing=0.6),
    "inpainting, a block": InpaintingSettings(missing=0.15, shape="block"),
    "sparse_view, 24 views": SparseViewSettings(views=24),
    "poisson, peak 20": PoissonSettings(peak=20, black=0.0),
    "rician, noise 0.15": RicianSettings(noise=0.15, black=0.0),
}
OF_COMPLEX_IMAGES = {
    "kspace_motion, blocks": KSpaceMotionSettings(shift=4),
    "kspace_motion, interleaved": KSpaceMotionSettings(shots=4, shift=2, order="interleaved"),
    "kspace_motion, with turns": KSpaceMotionSettings(shift=2, rotation=6),
}
OF_SCANS = {
    "multicoil_fourier, random, R 4": MultiCoilFourierSettings(acceleration=4, acs_lines=16),
    "fourier, equispaced, R 4": FourierSettings(acceleration=4, acs_lines=16, pattern="equispaced"),
    "fourier, variable_density, R 4": FourierSettings(acceleration=4, acs_lines=16, pattern="variable_density"),
    "fourier, poisson_disk, R 8": FourierSettings(acceleration=8, acs_lines=16, pattern="poisson_disk"),
    "fourier, radial, R 8": FourierSettings(acceleration=8, acs_lines=0, pattern="radial"),
}


def main() -> None:
    """Draw and save."""
    source = KneePhantomSettings(num_images=1, size=SIZE).build()
    whole = source.complex_image(0).reshape(1, SIZE, SIZE)
    images = {}
    for of, known in ((source.image(0).real.float().reshape(1, SIZE, SIZE), OF_MAGNITUDES), (whole, OF_COMPLEX_IMAGES)):
        for name, settings in known.items():
            corruption: ImageCorruption = settings.build()
            data = corruption.measure_image(of, name, generator_for(0, "picture", name)).data[0]
            images[name] = data.abs() if data.is_complex() else data
    one_coil = torch.ones(1, SIZE, SIZE, dtype=torch.complex64)
    for name, scan in OF_SCANS.items():
        maps = source.maps(0) if scan.kind == "multicoil_fourier" else one_coil
        images[name] = undersampled(scan.build(), whole, maps.reshape(1, -1, SIZE, SIZE), name)
    sheet(images).save(Path(__file__).parent / "images" / "corruptions.png", optimize=True)


def undersampled(corruption: MultiCoilUndersampling, image: Tensor, maps: Tensor, name: str) -> Tensor:
    """Return the magnitude of the zero-filled image."""
    mask = corruption.draw_mask(SIZE, generator_for(0, "picture", name), rows=SIZE)
    scan = MultiCoilFourier(mask.reshape(1, 1, -1, SIZE), maps)
    return scan.normal(image[None])[0].abs()


def sheet(images: dict[str, Tensor]) -> Image.Image:
    """Arrange images with their titles."""
    rows = -(-len(images) // COLUMNS)
    page = Image.new("L", (COLUMNS * SIZE, rows * (SIZE + TITLE)), 255)
    draw = ImageDraw.Draw(page)
    for number, (name, image) in enumerate(images.items()):
        x, y = number % COLUMNS * SIZE, number // COLUMNS * (SIZE + TITLE)
        draw.text((x + 4, y + 3), name, fill=0)
        pixels = (image[0] / WHITE).clamp(0, 1) * 255
        page.paste(Image.fromarray(pixels.numpy().astype(np.uint8)), (x, y + TITLE))
    return page


if __name__ == "__main__":
    main()
