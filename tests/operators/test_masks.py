import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_med.base.draws import Draws
from rsd_med.operators import (
    achieved_acceleration,
    acs_slice,
    complex_or_real_noise,
    equispaced_mask,
    equispaced_masks,
    further_lines,
    further_mask,
    random_mask,
    random_masks,
)
from rsd_med.operators.masks import MaskDesign


def generator(seed=0):
    return Draws().manual_seed(seed)


@pytest.mark.parametrize("width", [1, 5, 6, 31, 32, 320])
@pytest.mark.parametrize("acs_lines", [0, 1, 2, 4, 5])
def test_acs_lies_where_fastmri_puts_it(width, acs_lines):
    if acs_lines > width:
        with pytest.raises(ValueError, match="acs_lines"):
            acs_slice(width, acs_lines)
        return
    pad = (width - acs_lines + 1) // 2
    assert acs_slice(width, acs_lines) == slice(pad, pad + acs_lines)
    if acs_lines:
        assert pad <= width // 2 < pad + acs_lines  # the zero frequency is calibrated


@pytest.mark.parametrize(("acceleration", "lines"), [(1, 320), (2, 160), (4, 80), (6, 53), (8, 40), (2.5, 128)])
def test_random_masks_keep_the_acs_and_meet_the_acceleration(acceleration, lines):
    masks = random_masks(MaskDesign(320, acceleration, 20), 16, generator())
    assert masks.shape == (16, 320)
    assert masks.dtype == torch.bool
    assert (masks.sum(dim=1) == lines).all()
    assert masks[:, 150:170].all()
    assert achieved_acceleration(masks) == pytest.approx(320 / lines)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 400),
    acceleration=st.floats(1, 12),
    acs_lines=st.integers(0, 40),
    seed=st.integers(0, 10),
    equispaced=st.booleans(),
)
def test_a_mask_is_right_or_refused(width, acceleration, acs_lines, seed, equispaced):
    draw = equispaced_mask if equispaced else random_mask
    try:
        mask = draw(MaskDesign(width, acceleration, acs_lines), generator(seed))
    except ValueError:
        return
    assert mask.shape == (width,)
    assert mask[acs_slice(width, acs_lines)].all()
    if equispaced:
        assert achieved_acceleration(mask) == pytest.approx(acceleration, rel=0.02)
    else:
        nearest = min(range(1, width + 1), key=lambda lines: abs(width / lines - acceleration))
        assert mask.sum() == nearest or achieved_acceleration(mask) == pytest.approx(acceleration, rel=0.02)


def test_lines_outside_the_acs_are_uniform():
    draws = 4000
    share = random_masks(MaskDesign(64, 4, 6), draws, generator()).float().mean(dim=0)
    share = torch.cat((share[:29], share[35:]))
    expected = 10 / 58
    assert (share - expected).abs().max() < 5 * (expected * (1 - expected) / draws) ** 0.5


@pytest.mark.parametrize("width", [320, 368, 640])
@pytest.mark.parametrize("acceleration", [2, 4, 6, 8])
def test_equispaced_masks_are_evenly_spaced_and_meet_the_acceleration(width, acceleration):
    masks = equispaced_masks(MaskDesign(width, acceleration, 24), 512, generator())
    centre = acs_slice(width, 24)
    assert masks[:, centre].all()
    assert achieved_acceleration(masks) == pytest.approx(acceleration, rel=0.02)
    outside = torch.cat((masks[:, : centre.start], masks[:, centre.stop :]), dim=1)
    for mask in outside[:64]:
        gaps = mask.nonzero()[:, 0].diff()
        assert gaps.max() - gaps.min() <= 1
    assert outside.any(dim=0).all()  # the offset is random: every line is drawn sometimes


def test_equispaced_masks_refuse_an_acceleration_they_cannot_meet():
    with pytest.raises(ValueError, match=r"32 comes within 2 % of acceleration 3: the nearest is 2\.91"):
        equispaced_mask(MaskDesign(32, 3, 4), generator())


@pytest.mark.parametrize("draw", [random_masks, equispaced_masks])
def test_never_acquired_columns_are_never_sampled(draw):
    acquired = torch.ones(320, dtype=torch.bool)
    acquired[:20] = acquired[300:] = False
    masks = draw(MaskDesign(320, 4, 20, acquired), 200, generator())
    assert not masks[:, ~acquired].any()
    assert masks.any(dim=0).equal(acquired)
    assert (masks.sum(dim=1) == 70).all()  # the acceleration counts relative to what exists
    assert achieved_acceleration(masks, acquired) == 4


@pytest.mark.parametrize("draw", [random_mask, equispaced_mask])
@pytest.mark.parametrize(
    ("width", "acceleration", "acs_lines", "sentence"),
    [
        (32, 0.5, 4, "at least 1"),
        (32, float("nan"), 4, "at least 1"),
        (32, 4, 33, "between 0 and the 32"),
        (32, 4, -1, "between 0 and the 32"),
        (32, 8, 5, "leaves 4 of 32 k-space columns, fewer than the 5"),
        (0, 1, 0, "at least one k-space column"),
    ],
)
def test_refuses_impossible_requests(draw, width, acceleration, acs_lines, sentence):
    if width == 0:
        with pytest.raises(ValueError, match=sentence):
            draw(MaskDesign(width, acceleration, acs_lines), generator())
        return
    with pytest.raises(ValueError, match=sentence):
        draw(MaskDesign(width, acceleration, acs_lines), generator())


def test_refuses_to_measure_nothing():
    with pytest.raises(ValueError, match="leaves 0 of 4 k-space columns"):
        random_mask(MaskDesign(4, 8, 0), generator())
    with pytest.raises(ValueError, match="measures nothing"):
        achieved_acceleration(torch.zeros(4, dtype=torch.bool))


def test_refuses_acquired_columns_that_do_not_fit():
    acquired = torch.ones(32, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"shape \(33,\)"):
        random_mask(MaskDesign(33, 4, 4, acquired), generator())
    with pytest.raises(ValueError, match="boolean"):
        random_mask(MaskDesign(32, 4, 4, acquired.float()), generator())
    acquired[15] = False
    with pytest.raises(ValueError, match="lacks some of the 4 central columns"):
        random_mask(MaskDesign(32, 4, 4, acquired), generator())


@pytest.mark.parametrize(("acceleration", "removed"), [(2, 54), (4, 16), (6, 8), (8, 5)])
def test_further_masks_have_the_published_sizes(acceleration, removed):
    assert further_lines(320, acceleration) == removed
    masks = random_masks(MaskDesign(320, acceleration, 20), 8, generator())
    further = further_mask(masks, 20, removed, generator(1))
    assert (further.sum(dim=1) == 320 // (acceleration + 1)).all()


def test_further_lines_refuses_less_than_full_sampling():
    with pytest.raises(ValueError, match="at least 1"):
        further_lines(320, 0.9)


@pytest.mark.parametrize("shape", [(64,), (5, 64), (5, 1, 1, 64)])
def test_further_masks_are_nested_and_keep_the_acs(shape):
    count = int(np.prod(shape[:-1]))
    mask = random_masks(MaskDesign(64, 4, 6), count, generator()).reshape(shape)
    before = mask.clone()
    further = further_mask(mask, 6, 3, generator(1))
    assert mask.equal(before)
    assert further.shape == shape
    assert not (further & ~mask).any()
    assert further[..., acs_slice(64, 6)].all()
    assert ((mask.sum(dim=-1) - further.sum(dim=-1)) == 3).all()
    assert further_mask(mask, 6, 0, generator(1)).equal(mask)


def test_every_lost_line_may_have_been_measured():
    """E[A | A~] > 0 on all lines, the condition under which the further-corrupted objective learns everything."""
    draws, width, acs_lines, removed = 4000, 64, 6, 3
    mask = random_masks(MaskDesign(width, 4, acs_lines), draws, generator())
    further = further_mask(mask, acs_lines, removed, generator(1))
    centre = torch.zeros(width, dtype=torch.bool)
    centre[acs_slice(width, acs_lines)] = True
    assert further[:, centre].all()
    lost = ~further[:, ~centre]
    measured = (mask[:, ~centre] & lost).sum(dim=0) / lost.sum(dim=0)
    expected = removed / (width - 16 + removed)
    assert (measured > 0).all()
    assert (measured - expected).abs().max() < 5 * (expected / (0.75 * draws)) ** 0.5
    assert mask[:, ~centre].logical_and(further[:, ~centre]).any(dim=0).all()


def test_further_masks_refuse_to_remove_what_is_not_there():
    mask = random_mask(MaskDesign(32, 4, 4), generator())
    with pytest.raises(ValueError, match="5 columns cannot be removed from a mask that has only 4"):
        further_mask(mask, 4, 5, generator())
    with pytest.raises(ValueError, match="must not be negative"):
        further_mask(mask, 4, -1, generator())


def test_draws_depend_on_the_generator_alone():
    def draw(seed):
        source = generator(seed)
        masks = random_masks(MaskDesign(64, 4, 6), 4, source)
        return torch.cat((masks, equispaced_masks(MaskDesign(64, 4, 6), 4, source), further_mask(masks, 6, 3, source)))

    assert draw(1).equal(draw(1))
    assert not draw(1).equal(draw(2))


def test_the_global_random_state_is_never_touched():
    state = torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    source = generator()
    masks = random_masks(MaskDesign(64, 4, 6), 4, source)
    equispaced_masks(MaskDesign(64, 4, 6), 4, source)
    random_mask(MaskDesign(64, 4, 6), source)
    equispaced_mask(MaskDesign(64, 4, 6), source)
    further_mask(masks, 6, 3, source)
    complex_or_real_noise(torch.zeros(3, dtype=torch.complex64), 1.0, source)
    assert torch.random.get_rng_state().equal(state[0])
    assert (np.random.get_state()[1] == state[1]).all()  # noqa: NPY002
    assert random.getstate() == state[2]
