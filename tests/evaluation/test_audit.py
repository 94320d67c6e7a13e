"""The audit of memorisation: copies are caught, draws of the law are not, under every corruption alike."""

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings, NoiseSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.evaluation.audit import audit_memorisation
from rsd_med.operators import MultiCoilFourier, to_complex
from tests.operators.contracts import random_maps
from tests.training.toys import Kept, generator

SIDE, COUNT = 12, 200
FOURIER = MultiCoilFourierSettings(acceleration=2, acs_lines=4, further_lines=1, sigma=0.05).build()
HOLES = InpaintingSettings(missing=0.5, sigma=0.05).build()
NOISE = NoiseSettings(sigma=0.3).build()
KINDS = {"noise": NOISE, "holes": HOLES, "fourier": FOURIER}


def draw(count, seed, channels=1):
    """Draw smooth images of eighteen degrees of freedom per channel, dull ones and rich ones."""
    bumps = torch.nn.functional.interpolate(
        torch.eye(18).reshape(18, 1, 3, 6), size=(SIDE, SIDE), mode="bicubic", align_corners=True
    )
    source = generator(seed)
    amplitude = 0.2 + torch.rand(count, 1, 1, generator=source)
    images = (amplitude * torch.randn(count, channels, 18, generator=source)) @ bumps.reshape(18, -1)
    return images.reshape(count, channels, SIDE, SIDE)


def measured(kind, clean):
    corruption = KINDS[kind]
    if kind == "fourier":
        masks = torch.stack([corruption.draw_mask(SIDE, generator(i)) for i in range(len(clean))])
        operator = MultiCoilFourier(masks[:, None, None], random_maps((len(clean), 2, SIDE, SIDE), torch.complex64, 1))
        data = corruption.add_noise(operator(to_complex(clean)), operator, generator(2))
        level, one = torch.full((len(clean),), 0.05), torch.ones(len(clean))
        return Measurement(data, operator, level, one, tuple(map(str, range(len(clean)))))
    items = [corruption.measure_image(image, str(i), generator_for(0, "item", i)) for i, image in enumerate(clean)]
    return Measurement.cat(items)


# Without clean images, zero-filled pictures of which each lacks half the pixels have too little in common for copies to
# stand out: "holes" with "none" is left out.
@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("noise", "held out"),
        ("noise", "training"),
        ("noise", "none"),
        ("holes", "held out"),
        ("fourier", "held out"),
        ("fourier", "none"),
    ],
)
def test_copies_are_caught_and_draws_are_not(kind, reference):
    channels = 2 if kind == "fourier" else 1
    clean = draw(COUNT, 1, channels)
    dataset = Kept(measured(kind, clean))
    unseen = {"held out": draw(COUNT, 2, channels), "training": clean, "none": None}[reference]

    def found(images):
        return audit_memorisation(
            images, unseen, dataset, range(COUNT), KINDS[kind], 0, reference_is_training=reference == "training"
        )

    fresh = found(draw(COUNT, 3, channels)).figures
    assert fresh["p_value"] > 0.01
    assert fresh["share"] < 0.06
    copied = found(torch.cat((clean[:40], draw(COUNT - 40, 5, channels)))).figures
    assert copied["p_value"] < 1e-6
    # Of the pairs that are named first, most are the copies, each with the very item that it copies.
    named = copied["pairs"][:30]
    right = [pair["sample"] == pair["measurement"] for pair in named]
    assert sum(right) >= 20


def test_dull_samples_are_no_copies():
    """Whatever is near to everything is near to nothing in particular."""
    clean = draw(COUNT, 1)
    dataset = Kept(measured("noise", clean))
    found = audit_memorisation(0.5 * draw(COUNT, 4), draw(COUNT, 2), dataset, range(COUNT), NOISE, 0).figures
    assert found["p_value"] > 0.01


def test_the_pictures_show_the_nearest_pairs():
    clean = draw(60, 1, 2)
    measurements = measured("fourier", clean)
    result = audit_memorisation(clean[:20], draw(60, 2, 2), Kept(measurements), range(60), FOURIER, 0)
    first = result.figures["pairs"][0]
    assert result.baseline == "clean"
    assert list(result.pictures) == ["samples", "seen", "measurements"]
    assert {part.shape for part in result.pictures.values()} == {(8, 2, SIDE, SIDE)}
    assert torch.equal(result.pictures["samples"][0], clean[first["sample"]])
    item = measurements[first["measurement"] : first["measurement"] + 1]
    assert torch.allclose(to_complex(result.pictures["measurements"][:1]), item.image())
    gap = (result.pictures["seen"] - result.pictures["measurements"]).norm() / result.pictures["measurements"].norm()
    assert gap < 0.3


def test_two_measurements_leave_nothing_to_compare():
    clean = draw(2, 1)
    assert audit_memorisation(clean, None, Kept(measured("noise", clean)), range(2), NOISE, 0) is None
