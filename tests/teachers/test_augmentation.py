"""Augmentation: labels that tell the truth, noise that stays white, and refusals."""

import math

import pytest
import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings, NoCorruptionSettings, NoiseSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.operators import Identity
from rsd_med.operators.sampling import SamplingMask
from rsd_med.teachers.ambient_fourier import AmbientFourierSettings
from rsd_med.teachers.ambient_masked import AmbientMaskedSettings
from rsd_med.teachers.ambient_tweedie import AmbientTweedieSettings
from rsd_med.teachers.augmentation import SCALE, Augmentation, AugmentationSettings, linear_map, permuted, warped
from rsd_med.teachers.denoising import DenoisingSettings

from .toys import generator

TRANSFORMS = ["permutations", "all"]


def measurement(data, operator=None):
    count = len(data)
    return Measurement(data, operator or Identity(), torch.zeros(count), torch.ones(count), ("toy",) * count)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=generator(seed))


def spot(height, width, y, x, spread=2.5, count=1):
    """A Gaussian spot at (x, y) counted from the centre, in pixels."""
    rows = torch.arange(height) - (height - 1) / 2 - y
    columns = torch.arange(width) - (width - 1) / 2 - x
    return (-(rows[:, None] ** 2 + columns**2) / (2 * spread**2)).exp().expand(count, 1, -1, -1)


def numbers(*values):
    return torch.tensor(values, dtype=torch.float32)


# --- permutations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(6, 6), (6, 4)])
def test_the_labels_say_which_permutation_it_was(sides):
    data = noise(300, 2, *sides)
    found, labels = Augmentation(0.7, "permutations")(measurement(data), generator(1))
    assert labels.shape == (300, 9)
    assert not labels[:, [2, 5, 6, 7, 8]].any()
    seen = set()
    for before, after, label in zip(data, found.data, labels.tolist(), strict=True):
        quarters = round(math.atan2(label[4], label[3] + 1) / (math.pi / 2)) % 4
        expected = before.flip(-1) if label[0] else before
        expected = expected.flip(-2) if label[1] else expected
        assert torch.equal(after, expected.rot90(quarters, (-2, -1)))
        seen.add((label[0], label[1], quarters))
    assert len(seen) == (16 if sides[0] == sides[1] else 8)


@pytest.mark.parametrize("data", [noise(50, 3, 5, 5), torch.complex(noise(50, 1, 5, 5), noise(50, 1, 5, 5, seed=1))])
def test_permutations_change_no_value(data):
    found, _ = Augmentation(1.0, "permutations")(measurement(data), generator())
    for part in torch.view_as_real if data.is_complex() else torch.Tensor.clone, abs:
        before, after = (part(x).flatten(2).flatten(2).sort(-1).values for x in (data, found.data))
        assert torch.equal(before.flatten(1).sort(1).values, after.flatten(1).sort(1).values)
    assert not torch.equal(found.data, data)


@pytest.mark.parametrize(("transforms", "white"), [("permutations", True), ("all", False)])
def test_permutations_leave_noise_white_and_interpolation_does_not(transforms, white):
    found, _ = Augmentation(1.0, transforms)(measurement(noise(4000, 1, 6, 6)), generator(1))
    covariance = found.data.flatten(1).T.cov()
    error = (covariance - torch.eye(36)).abs().max()
    assert (float(error) < 0.1) == white  # four standard errors


def test_masks_go_with_their_images():
    mask = noise(40, 1, 7, 7) > 0
    image = noise(40, 3, 7, 7, seed=1).abs() + 1
    found, _ = Augmentation(1.0, "permutations")(
        measurement(image * mask, SamplingMask(mask)), generator(2)
    )  # fmt: skip
    assert not torch.equal(found.operator.mask, mask)
    assert torch.equal(found.data != 0, found.operator.mask.expand(-1, 3, -1, -1))


def test_an_image_is_mirrored_upset_and_turned_in_this_order():
    x = torch.arange(4.0).reshape(1, 1, 2, 2)
    yes = torch.ones(1, dtype=torch.bool)
    assert torch.equal(permuted(x, yes, ~yes), torch.tensor([[[[1.0, 0], [3, 2]]]]))
    assert torch.equal(permuted(x, ~yes, yes), torch.tensor([[[[2.0, 3], [0, 1]]]]))
    assert torch.equal(permuted(x, ~yes, ~yes, torch.ones(1)), torch.tensor([[[[1.0, 3], [0, 2]]]]))
    assert torch.equal(permuted(x, yes, ~yes, torch.ones(1)), torch.tensor([[[[0.0, 2], [1, 3]]]]))


# --- the others -----------------------------------------------------------------------------------------------------


def test_a_rotation_of_a_quarter_is_the_permutation():
    """Both are told to the network as the same angle, so both must turn the same way."""
    image = noise(1, 2, 8, 8)
    turned = warped(image, linear_map(numbers(0), numbers(math.pi / 2), numbers(0), numbers(0)), torch.zeros(1, 2))
    assert torch.allclose(turned, image.rot90(1, (-2, -1)), atol=1e-4)


def test_translation_is_to_the_right_and_down_in_parts_of_the_sides():
    image = spot(24, 32, 0, 0, spread=1.0)
    moved = warped(image, torch.eye(2)[None], torch.tensor([[1 / 8, 1 / 4]]))
    assert torch.allclose(moved, spot(24, 32, y=6, x=4, spread=1.0), atol=1e-3)


def test_edges_are_reflected():
    image = noise(1, 1, 6, 8)
    moved = warped(image, torch.eye(2)[None], torch.tensor([[2 / 8, 0.0]]))
    assert torch.allclose(moved[..., 2:], image[..., :-2], atol=1e-4)
    assert torch.allclose(moved[..., :2], image[..., :2].flip(-1), atol=1e-4)


def test_scale_enlarges():
    linear = linear_map(numbers(2.0), numbers(0), numbers(0), numbers(0))
    moved = warped(spot(32, 32, 3, -2), linear, torch.zeros(1, 2))
    factor = SCALE**2
    assert torch.allclose(moved, spot(32, 32, 3 * factor, -2 * factor, spread=2.5 * factor), atol=0.03)


@pytest.mark.parametrize("axis", [0.0, math.pi / 2])
def test_aspect_lengthens_one_axis_and_shortens_the_other(axis):
    linear = linear_map(numbers(0), numbers(0), numbers(1.5), numbers(axis))
    place = warped(spot(40, 40, 6, 6), linear, torch.zeros(1, 2))[0, 0]
    y, x = divmod(int(place.argmax()), 40)
    longer, shorter = 6 * SCALE**1.5, 6 / SCALE**1.5
    expected = (longer, shorter) if axis == 0 else (shorter, longer)
    assert (x - 19.5, y - 19.5) == pytest.approx(expected, abs=0.6)
    assert float(torch.linalg.det(linear)) == pytest.approx(1)


def test_the_labels_say_all_there_is_to_know():
    data = spot(32, 32, 4, 3, count=400)
    found, labels = Augmentation(0.8, "all")(measurement(data), generator(3))
    mirrored, flipped, scale, cos, sin, along, across, right, down = labels.T
    angle = torch.atan2(sin, cos + 1)
    linear = linear_map(scale, angle, torch.hypot(along, across), torch.atan2(across, along) / 2)
    again = permuted(data, mirrored.bool(), flipped.bool())
    again = warped(again, linear, torch.stack([right, down], 1) / 8)
    assert torch.allclose(found.data, again, atol=1e-4)
    drawn = labels[:, [2, 7, 8]]
    assert float(drawn[drawn != 0].std()) == pytest.approx(1, abs=0.1)
    assert torch.allclose((cos + 1) ** 2 + sin**2, torch.tensor(1.0), atol=1e-5)


# --- both -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_transforms_are_as_frequent_as_asked(transforms):
    _, labels = Augmentation(0.12, transforms)(measurement(noise(20_000, 1, 4, 4)), generator())
    share = (labels != 0).float().mean(0)
    assert float(share[0]) == pytest.approx(0.5, abs=0.02)  # mirror images
    assert float(share[1]) == pytest.approx(0.06, abs=0.01)  # of 12 %, half are flipped
    turned = {"permutations": 0.12 * 3 / 4, "all": 0.12}[transforms]
    assert float(share[4]) == pytest.approx(turned, abs=0.035 if transforms == "permutations" else 0.01)
    if transforms == "all":
        assert torch.allclose(share[[2, 5, 6, 7, 8]], torch.tensor(0.12), atol=0.01)


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_what_is_labelled_zero_is_as_it_was(transforms):
    data = noise(200, 1, 6, 6)
    found, labels = Augmentation(0.12, transforms)(measurement(data), generator())
    same = ~labels.any(1)
    assert 20 < int(same.sum()) < 180
    assert torch.equal(found.data[same], data[same])
    assert all(not torch.equal(a, b) for a, b in zip(found.data[~same], data[~same], strict=True))


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_draws_come_from_the_generator_and_are_those_of_the_whole_batch(transforms):
    data = noise(8, 1, 6, 6)
    augmentation = Augmentation(0.5, transforms)
    before = torch.random.get_rng_state()
    whole, labels = augmentation(measurement(data), generator(5))
    assert torch.equal(before, torch.random.get_rng_state())
    for number in range(2):
        mine = slice(4 * number, 4 * number + 4)
        draws = generator(5)
        with draws.part(number, 2, 4):
            part, told = augmentation(measurement(data[mine]), draws)
        assert torch.equal(told, labels[mine])
        assert torch.equal(part.data, whole.data[mine])


def test_complex_images_are_warped_by_their_parts():
    data = torch.complex(noise(6, 1, 8, 8), noise(6, 1, 8, 8, seed=1))
    augmentation = Augmentation(1.0, "all")
    found, _ = augmentation(measurement(data), generator(2))
    real, _ = augmentation(measurement(data.real.contiguous()), generator(2))
    assert torch.allclose(found.data.real, real.data, atol=1e-6)


@pytest.mark.parametrize(
    ("corruption", "objective", "expected"),
    [
        (NoiseSettings(sigma=0.2), AmbientTweedieSettings(), "permutations"),
        (NoCorruptionSettings(), DenoisingSettings(), "all"),
        (InpaintingSettings(missing=0.5), DenoisingSettings(), "all"),
        (InpaintingSettings(missing=0.5), AmbientMaskedSettings(), "permutations"),
    ],
)
def test_an_objective_says_what_it_bears(corruption, objective, expected):
    built = AugmentationSettings(probability=0.12).build(objective.build(corruption.build()))
    assert (built.probability, built.transforms) == (0.12, expected)


@pytest.mark.parametrize("objective", [AmbientFourierSettings(), DenoisingSettings()])
def test_k_space_is_refused(objective):
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=2).build()
    with pytest.raises(ProtocolError, match="only images can be turned"):
        AugmentationSettings(probability=0.12).build(objective.build(corruption))


def test_objectives_that_bear_nothing_are_refused():
    objective = DenoisingSettings().build(NoCorruptionSettings().build())
    objective.transforms = "none"
    with pytest.raises(ProtocolError, match="Denoising cannot learn from transformed measurements"):
        AugmentationSettings(probability=0.12).build(objective)
