import math

import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.data.coils import birdcage_maps, smooth_phase, steep_places


def seeded(seed: int = 0) -> Draws:
    return Draws().manual_seed(seed)


@pytest.mark.parametrize("shape", [(32, 32), (33, 21), (1, 8)])
@pytest.mark.parametrize("coils", [1, 2, 4, 15])
def test_maps_are_normalised_at_every_pixel(coils, shape):
    maps = birdcage_maps(coils, shape, seeded())
    assert maps.shape == (coils, *shape)
    assert maps.dtype == torch.complex64
    assert torch.allclose(maps.abs().square().sum(0), torch.ones(shape), atol=1e-5)


def test_a_single_coil_is_a_map_of_ones():
    assert torch.equal(birdcage_maps(1, (8, 8), seeded()), torch.ones(1, 8, 8, dtype=torch.complex64))


def test_same_seed_same_maps_other_seed_other_maps():
    first = birdcage_maps(4, (16, 16), seeded(1))
    assert torch.equal(first, birdcage_maps(4, (16, 16), seeded(1)))
    assert (first - birdcage_maps(4, (16, 16), seeded(2))).abs().mean() > 0.1


def test_maps_are_smooth_and_each_coil_sees_its_own_side():
    maps = birdcage_maps(8, (64, 64), seeded())
    steps = torch.cat([maps.diff(dim=1).abs().flatten(), maps.diff(dim=2).abs().flatten()])
    assert steps.max() < 0.25
    assert len(set(maps.abs().flatten(1).argmax(1).tolist())) == 8
    assert (maps.abs().amax((1, 2)) / maps.abs().amin((1, 2))).min() > 3


def test_the_same_draws_give_the_same_field_at_any_size():
    coarse, fine = birdcage_maps(4, (32, 32), seeded()), birdcage_maps(4, (96, 96), seeded())
    assert torch.allclose(coarse, fine[:, 1::3, 1::3], atol=1e-5)


def test_without_jitter_the_ring_is_regular():
    maps = birdcage_maps(4, (32, 32), seeded(), jitter=0.0)
    turned = torch.rot90(maps.abs(), 1, (1, 2))
    closest = (turned[:, None] - maps.abs()[None]).abs().amax((2, 3)).amin(1)
    assert closest.max() < 1e-4


@pytest.mark.parametrize("bad", [{"coils": 0}, {"coils": 4, "jitter": 1.5}])
def test_impossible_coils_are_refused(bad):
    with pytest.raises(ValueError, match=r"coil|jitter"):
        birdcage_maps(shape=(8, 8), generator=seeded(), **bad)


@pytest.mark.parametrize("amplitude", [0.0, 0.5, 2.0])
def test_phase_has_the_amplitude_asked_for(amplitude):
    phase = smooth_phase((40, 31), seeded(), amplitude=amplitude)
    assert phase.shape == (40, 31)
    assert phase.dtype == torch.float32
    assert phase.mean().abs() < 1e-5
    assert math.isclose(phase.square().mean().sqrt().item(), amplitude, abs_tol=1e-5)


def test_phase_is_smooth_random_and_repeatable():
    phase = smooth_phase((64, 64), seeded(3))
    assert max(phase.diff(dim=0).abs().max(), phase.diff(dim=1).abs().max()) < 0.5
    assert torch.equal(phase, smooth_phase((64, 64), seeded(3)))
    assert not torch.equal(phase, smooth_phase((64, 64), seeded(4)))


def test_steep_places_are_steep_and_few():
    phase = torch.stack([steep_places((64, 64), seeded(seed)) for seed in range(8)])
    steps = torch.maximum(phase.diff(dim=1).abs()[..., :-1], phase.diff(dim=2).abs()[:, :-1])
    assert float(steps.max()) > 0.5  # more than any smooth phase has
    assert float((steps > 0.25).float().mean()) < 0.2
    assert torch.equal(phase[0], steep_places((64, 64), seeded(0)))


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    birdcage_maps(4, (8, 8), seeded())
    smooth_phase((8, 8), seeded())
    assert torch.equal(before, torch.get_rng_state())
