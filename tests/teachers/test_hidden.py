"""What a network is not shown, estimated from measurements, is what it is on the clean images behind them."""

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.estimates import with_estimates
from rsd_med.experiment import Experiment
from rsd_med.operators import MultiCoilFourier
from rsd_med.protocol import load_protocol
from rsd_med.teachers.ambient_fourier import AmbientFourier
from rsd_med.teachers.ambient_masked import AmbientMasked
from rsd_med.teachers.hidden import HiddenVariance

SIZE, ITEMS = 16, 192


def images(channels: int, complex_images: bool) -> torch.Tensor:
    """Smooth random fields about a mean that all of them share: the mean hides nothing, since networks learn it."""
    generator = torch.Generator().manual_seed(3)
    frequency = torch.fft.fftfreq(SIZE)
    fall = 1 / (0.05 + (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt())
    noise = torch.randn(ITEMS, channels, SIZE, SIZE, dtype=torch.complex64, generator=generator)
    fields = torch.fft.ifft2(torch.fft.fft2(noise) * fall)
    mean = torch.fft.ifft2(torch.fft.fft2(noise[:1]) * fall**2)
    fields = 0.05 * (fields + mean)
    return fields if complex_images else fields.real.contiguous()


def maps(coils: int) -> torch.Tensor:
    angle = torch.arange(coils) * 6.28 / coils
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, SIZE),) * 2, indexing="ij")
    lobes = torch.exp(-((y - angle.sin()[:, None, None]) ** 2) - (x - angle.cos()[:, None, None]) ** 2)
    return (lobes / lobes.square().sum(0).sqrt()).to(torch.complex64)


def estimate(objective, measurement: Measurement) -> float:
    total, draws = HiddenVariance(), generator_for(0, "hidden")
    for start in range(0, ITEMS, 64):
        part = measurement[start : start + 64]
        total.add(part, objective.further(part.operator, draws))
    return total.std()


@pytest.mark.parametrize("sigma", [0.0, 0.05])
def test_hidden_lines_of_a_scan(sigma):
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=3, further_lines=2, sigma=sigma).build()
    objective, x = AmbientFourier(corruption, LogNormalLevels()), images(1, True)
    operator = MultiCoilFourier(torch.ones(ITEMS, 1, 1, SIZE, dtype=torch.bool), maps(4))
    like = Measurement(operator(x), operator, torch.zeros(ITEMS), torch.ones(ITEMS), ("",) * ITEMS)
    measurement = corruption.corrupt(x, like, generator_for(1, "corrupt"))
    shown = objective.further(measurement.operator, generator_for(2, "truth"))
    gap = torch.view_as_real((x - x.mean(0)) - shown.normal(x - x.mean(0)))
    assert estimate(objective, measurement) == pytest.approx(float(gap.square().mean().sqrt()), rel=0.1)


def test_hidden_pixels_of_pictures():
    corruption = InpaintingSettings(missing=0.5, delta=0.2).build()
    objective, x = AmbientMasked(corruption, LogNormalLevels()), images(3, False)
    items = [corruption.measure_image(image, str(i), generator_for(0, "item", i)) for i, image in enumerate(x)]
    hidden = (1 - 0.5 * 0.8) * (x - x.mean(0)).square().mean()
    assert estimate(objective, Measurement.cat(items)) == pytest.approx(float(hidden.sqrt()), rel=0.05)


PROTOCOL = """
schema_version: 1
name: tiny
data: {kind: knee_phantom, num_images: 24, size: 16, coils: 2}
calibration: {noise: none}
corruption: {kind: multicoil_fourier, acceleration: 2, acs_lines: 3, further_lines: 1}
backbone: {kind: monai_unet, channels: [8, 8], attention: [false, false], norm_groups: 4}
teacher: {objective: {kind: ambient_fourier}, images: 32, batch_size: 8}
student: {images: 32}
evaluation: {monitor_images: 16}
"""


def test_an_experiment_states_the_number_and_goes_on_with_it(tmp_path):
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    protocol = load_protocol(tmp_path / "tiny.yaml")
    began = with_estimates(Experiment(protocol, tmp_path))
    stated = began.protocol.diffusion.hidden_std
    assert isinstance(stated, float)
    assert stated > 0
    assert began.build_denoiser().hidden_std == stated
    other = began.protocol.model_copy(
        update={"diffusion": began.protocol.diffusion.model_copy(update={"hidden_std": 0.7})}
    )
    assert with_estimates(Experiment(protocol, tmp_path), other).hidden_std == 0.7


def test_networks_that_see_whole_images_are_hidden_nothing(tmp_path):
    (tmp_path / "tiny.yaml").write_text(PROTOCOL)
    whole = ["teacher.objective={kind: denoising}", "corruption={kind: none}"]
    made = Experiment(load_protocol(tmp_path / "tiny.yaml", whole), tmp_path)
    assert not made.objective.hides
    assert with_estimates(made).protocol.diffusion.hidden_std == 0
