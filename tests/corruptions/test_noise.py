import pytest
import torch
from pydantic import ValidationError

from rsd_med.base.draws import Draws
from rsd_med.corruptions import Measurement, NoCorruptionSettings, NoiseSettings
from rsd_med.operators import Identity
from tests.operators.contracts import random_tensor


def generator(seed=0):
    return Draws().manual_seed(seed)


def like(image):
    items = len(image)
    return Measurement(torch.zeros_like(image), Identity(), torch.zeros(items), torch.ones(items) * 3, ("a",) * items)


@pytest.mark.parametrize(("dtype", "variance"), [(torch.float32, 0.04), (torch.complex64, 0.08)])
def test_a_picture_gets_noise_of_the_level(dtype, variance):
    image = random_tensor((1, 200, 200), dtype, 1)
    measurement = NoiseSettings(sigma=0.2).build().measure_image(image, "slice 3", generator())
    noise = measurement.data[0] - image
    assert measurement.data.dtype == dtype
    assert noise.abs().square().mean() == pytest.approx(variance, rel=0.05)
    assert measurement.sigma.equal(torch.tensor([0.2]))
    assert measurement.scale.equal(torch.ones(1))
    assert measurement.ids == ("slice 3",)
    assert measurement.image().equal(measurement.data)


def test_the_corruption_of_an_item_is_fixed_by_its_generator():
    image = random_tensor((3, 8, 8), torch.float32, 1)
    corruption = NoiseSettings(sigma=0.2).build()
    first, again, other = (corruption.measure_image(image, "a", generator(seed)).data for seed in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(other)


def test_noisy_files_are_taken_as_they_are_but_generated_images_get_the_noise():
    image = random_tensor((2, 1, 8, 8), torch.float32, 1)
    corruption = NoiseSettings(sigma=0.2, simulate=False).build()
    measurement = corruption.measure_image(image[0], "a", generator())
    assert measurement.data[0].equal(image[0])
    assert measurement.sigma.equal(torch.tensor([0.2]))
    assert not corruption.corrupt(image, like(image), generator()).data.equal(image)


@pytest.mark.parametrize(("dtype", "variance"), [(torch.float32, 0.04), (torch.complex64, 0.08)])
def test_generated_images_are_corrupted_differentiably(dtype, variance):
    image = random_tensor((4, 1, 100, 100), dtype, 1).requires_grad_()
    corruption = NoiseSettings(sigma=0.2).build()
    measurement = corruption.corrupt(image, like(image.detach()), generator())
    noise = (measurement.data - image).detach()
    assert noise.abs().square().mean() == pytest.approx(variance, rel=0.05)
    assert measurement.sigma.tolist() == pytest.approx([0.2] * 4)
    assert measurement.scale.equal(torch.full((4,), 3.0))
    assert measurement.ids == ("generated",) * 4
    weights = random_tensor(tuple(image.shape), dtype, 2)
    (gradient,) = torch.autograd.grad(measurement.data, image, weights)
    assert gradient.equal(weights)
    assert corruption.further(measurement.operator, generator()) is measurement.operator


def test_no_corruption_changes_nothing():
    image = random_tensor((2, 1, 8, 8), torch.complex64, 1)
    corruption = NoCorruptionSettings().build()
    assert corruption.sigma == 0
    assert corruption.corrupt(image, like(image), generator()).data.equal(image)
    assert corruption.measure_image(image[0], "a", generator()).data.equal(image[:1])
    assert corruption.measure_image(image[0], "a", generator()).sigma.equal(torch.zeros(1))


def test_as_many_images_as_measurements():
    image = random_tensor((2, 1, 8, 8), torch.float32, 1)
    with pytest.raises(ValueError, match="1 images cannot be corrupted like 2"):
        NoiseSettings(sigma=0.2).build().corrupt(image[:1], like(image), generator())


@pytest.mark.parametrize("sigma", [0, -0.1, float("inf"), float("nan")])
def test_refuses_impossible_levels(sigma):
    with pytest.raises(ValidationError, match="sigma"):
        NoiseSettings(sigma=sigma)


def test_the_global_random_state_is_never_touched():
    image = random_tensor((2, 1, 8, 8), torch.float32, 1)
    state = torch.random.get_rng_state()
    corruption = NoiseSettings(sigma=0.2).build()
    corruption.measure_image(image[0], "a", generator())
    corruption.corrupt(image, like(image), generator())
    assert torch.random.get_rng_state().equal(state)
