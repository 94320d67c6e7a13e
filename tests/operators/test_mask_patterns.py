"""Patterns: the acceleration that was asked for, the ACS within it, and the shape that their names promise."""

import numpy as np
import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.operators.masks import (
    MaskDesign,
    achieved_acceleration,
    acs_slice,
    equispaced_fraction_masks,
    equispaced_grid_masks,
    equispaced_masks,
    further_entries,
    further_mask,
    nearest_count,
    partial_fourier_masks,
    poisson_disk_masks,
    radial_masks,
    random_masks,
    variable_density_masks,
)

LINES = (random_masks, equispaced_masks, equispaced_fraction_masks, equispaced_grid_masks, variable_density_masks)
PLANES = (poisson_disk_masks, radial_masks)


def generator(seed=0):
    return Draws().manual_seed(seed)


@pytest.mark.parametrize("draw", [*LINES, partial_fourier_masks])
@pytest.mark.parametrize("width", [64, 127, 320, 368])
@pytest.mark.parametrize(("acceleration", "share"), [(1.2, 0.08), (2, 0.16), (4, 0.08), (5.3, 0.06), (8, 0.04)])
def test_a_mask_of_lines_meets_its_acceleration_or_is_refused(draw, width, acceleration, share):
    acs_lines = round(share * width)
    refused = ""
    try:
        masks = draw(MaskDesign(width, acceleration, acs_lines), 8, generator())
    except ValueError as error:
        refused = str(error)
    if refused:
        assert draw in (equispaced_grid_masks, partial_fourier_masks) or "2 %" in refused
        return
    assert masks.shape == (8, width)
    assert masks.dtype == torch.bool
    assert masks[:, acs_slice(width, acs_lines)].all()
    for mask in masks:
        lines = int(mask.sum())
        off = abs(width / lines / acceleration - 1)
        nearest = min(abs(width / count / acceleration - 1) for count in range(1, width + 1))
        assert off <= max(0.02, nearest + 1e-9)
    assert draw(MaskDesign(width, acceleration, acs_lines), 8, generator()).equal(masks)


def test_only_some_requests_are_refused():
    """The test above must not pass because everything is."""
    for draw in (random_masks, equispaced_masks, equispaced_fraction_masks, variable_density_masks):
        for width, acceleration, acs_lines in ((320, 2, 51), (320, 4, 26), (320, 8, 13), (368, 4, 29), (368, 8, 15)):
            masks = draw(MaskDesign(width, acceleration, acs_lines), 4, generator())
            assert achieved_acceleration(masks) == pytest.approx(acceleration, rel=0.02)


@pytest.mark.parametrize(
    ("count", "acceleration", "lines"),
    [(320, 3, 106), (320, 7, 45), (320, 4, 80), (64, 6, 11), (32, 3, 11), (32, 6, 5), (4, 8, 0), (3, 4, 1), (7, 1, 7)],
)
def test_the_published_floor_holds_where_it_is_near_enough(count, acceleration, lines):
    assert nearest_count(count, acceleration) == lines


# --- lattices -------------------------------------------------------------------------------------------------------


def published_fraction(width, acceleration, low, offset):
    """The lattice that fastMRI publishes, adjusted for the number of low frequencies."""
    spacing = (acceleration * (low - width)) / (low * acceleration - width)
    mask = np.zeros(width, bool)
    mask[np.around(np.arange(offset, width - 1, spacing)).astype(int)] = True
    pad = (width - low + 1) // 2
    mask[pad : pad + low] = True
    return mask


@pytest.mark.parametrize(("width", "acceleration", "low"), [(320, 4, 26), (368, 4, 29), (368, 8, 15), (128, 4, 10)])
def test_the_adjusted_lattice_is_fastmris_where_that_meets_the_acceleration(width, acceleration, low):
    masks = equispaced_fraction_masks(MaskDesign(width, acceleration, low), 200, generator())
    spacing = (acceleration * (low - width)) / (low * acceleration - width)
    published = [published_fraction(width, acceleration, low, offset) for offset in range(round(spacing))]
    right = {tuple(mask) for mask in published if mask.sum() == round(width / acceleration)}
    assert right
    drawn = {tuple(mask) for mask in masks.tolist()}
    assert right <= drawn
    assert len(drawn) <= round(spacing)


def test_a_lattice_runs_through_the_centre_with_one_spacing():
    mask = equispaced_fraction_masks(MaskDesign(320, 4, 24), 1, generator())[0]
    outside = torch.cat((mask[: 320 // 2 - 12].nonzero(), mask[320 // 2 + 12 :].nonzero() + 320 // 2 + 12))[:, 0]
    gaps = outside.diff()
    gaps = gaps[gaps < 20]
    assert gaps.max() - gaps.min() <= 1
    # The columns on either side of the ACS belong to one lattice: a whole number of spacings apart.
    spacing = float(gaps.double().mean())
    across = float((outside[outside > 160].min() - outside[outside < 160].max()) / spacing)
    assert abs(across - round(across)) < 0.2


def test_the_grid_is_fastmris_with_its_offset():
    masks = equispaced_grid_masks(MaskDesign(320, 3.84, 24), 300, generator())
    drawn = {tuple(mask) for mask in masks.tolist()}
    for mask in drawn:
        outside = torch.tensor(mask)
        outside[acs_slice(320, 24)] = False
        offsets = outside.nonzero()[:, 0] % 5
        assert len(offsets.unique()) == 1
    assert len(drawn) == 5


def test_a_grid_that_no_whole_spacing_gives_is_refused_with_those_that_can_be_had():
    with pytest.raises(ValueError, match=r"every 2\. column 1\.86 and every 3\. column 2\.61.*equispaced_fraction"):
        equispaced_grid_masks(MaskDesign(320, 2, 24), 1, generator())


# --- densities ------------------------------------------------------------------------------------------------------


def test_variable_density_falls_outwards_and_reaches_every_line():
    share = variable_density_masks(MaskDesign(64, 4, 6), 4000, generator()).float().mean(0)
    by_distance = [(share[32 - r] + share[min(32 + r, 63)]) / 2 for r in (4, 10, 16, 22, 28)]
    assert by_distance == sorted(by_distance, reverse=True)
    assert by_distance[0] > 5 * by_distance[-1]
    assert share.min() > 0
    flat = variable_density_masks(MaskDesign(64, 4, 6), 4000, generator(), power=0).float().mean(0)
    assert flat[:29].std() < 0.02


def test_partial_fourier_leaves_out_one_end():
    masks = partial_fourier_masks(MaskDesign(40, 1.25, 8), 64, generator())
    assert (masks.sum(1) == 32).all()
    left, right = ~masks[:, 0], ~masks[:, -1]
    assert (left ^ right).all()
    assert left.any()
    assert right.any()
    assert ((masks[:, 1:] != masks[:, :-1]).sum(1) == 1).all()
    assert masks[:, 20].all()
    with pytest.raises(ValueError, match=r"ask for less than 1\.67"):
        partial_fourier_masks(MaskDesign(40, 2, 8), 1, generator())


# --- the plane ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", PLANES)
@pytest.mark.parametrize("shape", [(64, 64), (33, 50)])
@pytest.mark.parametrize(("acceleration", "acs_lines"), [(2, 8), (4, 9), (8, 0)])
def test_a_mask_of_the_plane_meets_its_acceleration(draw, shape, acceleration, acs_lines):
    masks = draw(MaskDesign(shape[1], acceleration, acs_lines, rows=shape[0]), 3, generator())
    assert masks.shape == (3, *shape)
    assert (masks.flatten(1).sum(1) == round(shape[0] * shape[1] / acceleration)).all()
    assert achieved_acceleration(masks) == pytest.approx(acceleration, rel=0.02)
    assert masks[:, acs_slice(shape[0], acs_lines), acs_slice(shape[1], acs_lines)].all()
    assert not masks[0].equal(masks[1])
    assert draw(MaskDesign(shape[1], acceleration, acs_lines, rows=shape[0]), 3, generator()).equal(masks)


@pytest.mark.parametrize("draw", PLANES)
def test_columns_that_were_never_acquired_stay_so_in_the_plane(draw):
    acquired = torch.ones(60, dtype=torch.bool)
    acquired[:10] = False
    masks = draw(MaskDesign(60, 4, 6, acquired, rows=40), 2, generator())
    assert not masks[..., :10].any()
    assert achieved_acceleration(masks, acquired) == 4


def test_poisson_disks_keep_their_distance():
    def nearest(mask):
        points = mask.nonzero().double()
        distance = torch.cdist(points, points)
        return distance.fill_diagonal_(torch.inf).min(1).values

    mask = poisson_disk_masks(MaskDesign(64, 8, 0, rows=64), 1, generator(), slope=0)[0]
    uniform = torch.zeros(64 * 64, dtype=torch.bool)
    uniform[torch.randperm(64 * 64, generator=generator())[:512]] = True
    assert nearest(mask).min() >= 2
    assert nearest(uniform.reshape(64, 64)).min() == 1
    # And leave no gaps: no entry is far from a measured one.
    everywhere = torch.ones(64, 64, dtype=torch.bool).nonzero().double()
    assert torch.cdist(everywhere, mask.nonzero().double()).min(1).values.max() < 4
    dense = poisson_disk_masks(MaskDesign(64, 6, 0, rows=64), 8, generator()).float().mean(0)
    assert dense[24:40, 24:40].mean() > 1.5 * dense[:8].mean()


def test_spokes_are_radial():
    """Few spokes: along a circle, few arcs are measured, each on the other side of the centre too; corners never."""
    mask = radial_masks(MaskDesign(65, 12, 0, rows=65), 1, generator())[0]
    assert not mask[:6, :6].any()
    assert mask[31:34, 31:34].float().mean() > 0.8
    inner, outer = mask[24:41, 24:41].float().mean(), mask[:8].float().mean()
    assert inner > 3 * outer
    points = mask.nonzero() - 32
    opposite = mask[(32 - points[:, 0]).clamp(0, 64), (32 - points[:, 1]).clamp(0, 64)]
    assert opposite.float().mean() > 0.8
    firsts = radial_masks(MaskDesign(33, 12, 0, rows=33), 400, generator()).float().mean(0)
    assert firsts[16, 2:31].min() > 0
    with pytest.raises(ValueError, match="Radial spokes reach"):
        radial_masks(MaskDesign(32, 1.1, 0, rows=32), 1, generator())


@pytest.mark.parametrize("draw", PLANES)
@pytest.mark.parametrize(
    ("shape", "acceleration", "acs_lines", "sentence"),
    [
        ((32, 32), 0.5, 4, "at least 1"),
        ((32, 32), 4, 33, "between 0 and the 32"),
        ((32, 32), 4, 20, "leaves 256 of 1024 k-space entries, fewer than the 400"),
        ((0, 8), 2, 0, "at least one entry"),
        ((3, 3), 2.6, 0, r"comes within 2 % of acceleration 2\.6"),
    ],
)
def test_impossible_requests_in_the_plane(draw, shape, acceleration, acs_lines, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw(MaskDesign(shape[1], acceleration, acs_lines, rows=shape[0]), 1, generator())


# --- further --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [*LINES, partial_fourier_masks])
def test_further_masks_of_every_pattern_are_nested(draw):
    acceleration = 1.25 if draw is partial_fourier_masks else 3.84
    mask = draw(MaskDesign(320, acceleration, 24), 5, generator())
    further = further_mask(mask, 24, 10, generator(1))
    assert not (further & ~mask).any()
    assert further[:, acs_slice(320, 24)].all()
    assert (mask.sum(1) - further.sum(1) == 10).all()


@pytest.mark.parametrize("draw", PLANES)
def test_further_masks_of_the_plane_are_nested(draw):
    mask = draw(MaskDesign(40, 4, 8, rows=48), 4, generator())[:, None]
    further = further_entries(mask, 8, 100, generator(1))
    assert further.shape == mask.shape
    assert not (further & ~mask).any()
    assert further[..., acs_slice(48, 8), acs_slice(40, 8)].all()
    assert ((mask.sum((-2, -1)) - further.sum((-2, -1))) == 100).all()
    with pytest.raises(ValueError, match="9999 entries cannot be removed"):
        further_entries(mask, 8, 9999, generator())


def test_no_pattern_touches_the_global_random_state():
    state = torch.random.get_rng_state()
    for draw in LINES:
        draw(MaskDesign(320, 3.84, 24), 2, generator())
    for draw in PLANES:
        draw(MaskDesign(24, 3, 4, rows=24), 1, generator())
    assert torch.random.get_rng_state().equal(state)
