"""Every objective on a batch in parts: each item's loss is the one that it has in the whole batch."""

import pytest
import torch

from rsd_med.corruptions import GaussianNoise, Measurement, NoCorruption
from rsd_med.corruptions.inpainting import Inpainting
from rsd_med.corruptions.measurement import GENERATED
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity
from rsd_med.teachers.ambient_masked import AmbientMasked
from rsd_med.teachers.ambient_tweedie import AmbientTweedie, ConsistencySettings
from rsd_med.teachers.creative import Creative
from rsd_med.training.microbatch import BatchPart

from .toys import generator

LEVELS = LogNormalLevels()
OBJECTIVES = {
    "masked pixels": AmbientMasked(Inpainting(0.4), LEVELS),
    "masked block, noisy": AmbientMasked(Inpainting(0.2, shape="block", sigma=0.3), LEVELS),
    "tweedie with consistency": AmbientTweedie(GaussianNoise(0.3), LEVELS, consistency=ConsistencySettings()),
    "clamped": AmbientTweedie(GaussianNoise(0.3), LEVELS, "clamp"),
    "creative": Creative(NoCorruption(), LEVELS, 0.5),
}


class Blur:
    """Any network that treats items alike."""

    def weight(self, sigma):
        return 1 / sigma

    def __call__(self, x, sigma, context=None):
        return 0.5 * x.roll(1, -1) + sigma.reshape(-1, 1, 1, 1) + (0 if context is None else context)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("parts", [2, 3, 6])
def test_losses_do_not_depend_on_how_a_batch_is_divided(name, parts):
    objective = OBJECTIVES[name]
    like = Measurement(torch.zeros(6, 3, 8, 8), Identity(), torch.zeros(6), torch.ones(6), (GENERATED,) * 6)
    images = torch.randn(6, 3, 8, 8, generator=generator(1))
    measurement = objective.corruption.corrupt(images, like, generator(2))
    # Two of them are images with names, whose own draws are nobody else's.
    names = ("a", "b", *measurement.ids[2:])
    measurement = Measurement(measurement.data, measurement.operator, measurement.sigma, measurement.scale, names)
    whole = objective(Blur(), measurement, generator(5))
    found, items = [], 6 // parts
    for index in range(parts):
        with BatchPart(index, parts, items):
            found.append(objective(Blur(), measurement[index * items : (index + 1) * items], generator(5)))
    assert torch.allclose(torch.cat(found), whole, rtol=1e-5)
