from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.operators import Identity, MultiCoilFourier, acs_slice, random_masks
from rsd_med.operators.masks import MaskDesign
from tests.operators.contracts import random_maps, random_tensor, relative_error


def generator(seed=0):
    return Draws().manual_seed(seed)


def build(acceleration=4, acs_lines=4, **settings):
    return MultiCoilFourierSettings(acceleration=acceleration, acs_lines=acs_lines, **settings).build()


def scans(items=6, coils=3, size=(12, 32), dtype=torch.complex64):
    masks = random_masks(MaskDesign(size[1], 4, 4), items, generator(9))[:, None, None]
    operator = MultiCoilFourier(masks, random_maps((items, coils, *size), dtype))
    data = operator(random_tensor((items, 1, *size), dtype, 1))
    return Measurement(data, operator, torch.zeros(items), torch.arange(items) + 1.0, ("scan",) * items)


@pytest.mark.parametrize(
    "pattern", ["random", "equispaced", "equispaced_fraction", "equispaced_grid", "variable_density"]
)
def test_fresh_masks_come_with_the_coil_maps_of_the_measurements(pattern):
    corruption, like = build(pattern=pattern), scans()
    first, second = corruption.draw(like, generator(1)), corruption.draw(like, generator(2))
    assert first.maps.equal(like.operator.maps)
    assert first.mask.shape == (6, 1, 1, 32)
    assert (first.mask.sum(dim=-1) == 8).all()
    assert first.mask[..., acs_slice(32, 4)].all()
    assert not first.mask.equal(second.mask)
    assert first.mask.equal(corruption.draw(like, generator(1)).mask)
    assert not first.mask[0].equal(first.mask[1])


def test_masks_of_files_are_taken_with_their_maps_not_invented():
    """A batch is drawn by chance: so are its masks, however it is shared among processes."""
    corruption, like = build(mask="file"), scans()
    assert corruption.draw(like, generator()) is like.operator


def test_one_mask_for_one_scan():
    acquired = torch.ones(32, dtype=torch.bool)
    acquired[:4] = False
    mask = build().draw_mask(32, generator(), acquired)
    assert mask.shape == (32,)
    assert mask.sum() == 7
    assert not mask[:4].any()


@pytest.mark.parametrize(("acceleration", "removed"), [(2, 54), (4, 16), (6, 8), (8, 5)])
def test_further_corruption_removes_the_published_numbers_of_lines(acceleration, removed):
    corruption = build(acceleration=acceleration, acs_lines=20)
    operator = corruption.draw(scans(items=3, coils=1, size=(2, 320)), generator())
    further = corruption.further(operator, generator(1))
    assert not (further.mask & ~operator.mask).any()
    assert (operator.mask.sum(dim=-1) - further.mask.sum(dim=-1) == removed).all()
    assert further.mask[..., acs_slice(320, 20)].all()
    assert further.maps.equal(operator.maps)


def test_further_lines_may_be_chosen():
    corruption = build(further_lines=3)
    operator = corruption.draw(scans(), generator())
    assert (corruption.further(operator, generator()).mask.sum(dim=-1) == 5).all()


def test_every_line_of_a_further_mask_can_be_learnt():
    """E[A | A~] > 0 on every line: what A~ lacks, A had in some of the draws."""
    corruption = build()
    operator = corruption.draw(scans(items=2000, coils=1, size=(2, 32)), generator())
    mask, further = operator.mask[:, 0, 0], corruption.further(operator, generator(1)).mask[:, 0, 0]
    lost = ~further
    chance = (mask & lost).sum(dim=0) / lost.sum(dim=0).clamp_min(1)
    outside = torch.ones(32, dtype=torch.bool)
    outside[acs_slice(32, 4)] = False
    assert further[:, ~outside].all()
    assert (chance[outside] > 0).all()


def test_corrupting_is_measuring_with_noise_on_the_sampled_entries_alone():
    like = scans(size=(64, 64))
    image = random_tensor((6, 1, 64, 64), torch.complex64, 2)
    measurement = build(sigma=0.3).corrupt(image, like, generator())
    noise = measurement.data - measurement.operator(image)
    mask = measurement.operator.mask.expand_as(noise)
    assert measurement.data[~mask].count_nonzero() == 0
    assert noise[mask].real.var() == pytest.approx(0.09, rel=0.05)
    assert noise[mask].imag.var() == pytest.approx(0.09, rel=0.05)
    assert noise[mask].abs().square().mean() == pytest.approx(0.18, rel=0.05)
    assert measurement.sigma.tolist() == pytest.approx([0.3] * 6)
    assert measurement.scale.equal(like.scale)
    assert measurement.ids == ("generated",) * 6
    assert (
        build().corrupt(image, like, generator()).data.equal(build().draw(like, generator())(image))
    )  # sigma = 0 adds nothing


def test_the_gradient_of_corrupting_is_the_adjoint():
    like = scans(dtype=torch.complex128)
    image = random_tensor((6, 1, 12, 32), torch.complex128, 2).requires_grad_()
    measurement = build(sigma=0.3).corrupt(image, like, generator())
    (gradient,) = torch.autograd.grad(measurement.data.abs().square().sum() / 2, image)
    assert relative_error(gradient, measurement.operator.H(measurement.data.detach())) < 1e-12


def test_settings_that_cannot_be_met_name_their_keys():
    with pytest.raises(ProtocolError, match=r"corruption\.acs_lines: Acceleration 8 leaves 4 of 32 .* the 5 that"):
        build(acceleration=8, acs_lines=5).draw(scans(), generator())
    with pytest.raises(ProtocolError, match=r"corruption\.acs_lines: acs_lines must lie between 0 and the 32"):
        build(acs_lines=40).draw_mask(32, generator())
    with pytest.raises(ProtocolError, match=r"corruption\.acceleration.* within 2 % of acceleration 3"):
        build(acceleration=3, pattern="equispaced").draw_mask(32, generator())
    with pytest.raises(ProtocolError, match=r"corruption\.further_lines: 5 columns cannot be removed .* only 4"):
        build(further_lines=5).further(scans().operator, generator())


def test_images_are_no_scans():
    image = random_tensor((2, 1, 8, 8), torch.complex64, 1)
    like = Measurement(image, Identity(), torch.zeros(2), torch.ones(2), ("a", "b"))
    with pytest.raises(ProtocolError, match="needs multi-coil k-space"):
        build().corrupt(image, like, generator())
    with pytest.raises(ProtocolError, match="needs multi-coil k-space"):
        build().further(Identity(), generator())


@pytest.mark.parametrize("pattern", ["poisson_disk", "radial"])
def test_patterns_in_the_plane(pattern):
    corruption, like = build(pattern=pattern), scans(size=(24, 32))
    fresh = corruption.draw(like, generator(1))
    assert fresh.mask.shape == (6, 1, 24, 32)
    assert (fresh.mask.sum((-2, -1)) == 192).all()
    assert not fresh.mask[0].equal(fresh.mask[1])
    further = corruption.further(fresh, generator(2))
    assert not (further.mask & ~fresh.mask).any()
    assert (further.mask.sum((-2, -1)) == 192 - (192 - 153)).all()  # from R to R + 1
    chosen = build(pattern=pattern, further_lines=2).further(fresh, generator(2))
    assert (chosen.mask.sum((-2, -1)) == 192 - 48).all()  # two columns' worth
    mask = corruption.draw_mask(32, generator(), rows=24)
    assert mask.shape == (24, 32)
    noisy = build(pattern=pattern, sigma=0.3).corrupt(
        random_tensor((6, 1, 24, 32), torch.complex64, 2), like, generator()
    )
    assert noisy.data[~noisy.operator.mask.expand_as(noisy.data)].count_nonzero() == 0
    with pytest.raises(ProtocolError, match="needs the number of rows"):
        corruption.draw_mask(32, generator())


def test_rows_that_were_never_reached_stay_so():
    """An asymmetric echo: the same rows are missing in every column, drawn afresh or with lines removed."""
    like = scans()
    mask = like.operator.mask.repeat(1, 1, 12, 1)
    mask[:, :, :3] = False
    operator = MultiCoilFourier(mask, like.operator.maps)
    further = build().further(operator, generator()).mask
    assert not (further & ~mask).any()
    assert ((mask.any(-2).sum(-1) - further.any(-2).sum(-1)) == 2).all()
    fresh = build().draw(replace(like, operator=operator), generator()).mask
    assert not fresh[:, :, :3].any()
    assert (fresh[:, :, 3:].sum(-1) == 8).all()


def test_two_dimensional_masks_have_no_lines_to_remove():
    like = scans()
    mask = like.operator.mask.repeat(1, 1, 12, 1)
    mask[:, :, 3, 16] = False
    operator = MultiCoilFourier(mask, like.operator.maps)
    with pytest.raises(ProtocolError, match="varies along y"):
        build().further(operator, generator())


@pytest.mark.parametrize(
    "wrong",
    [
        {"acceleration": 0.5},
        {"acceleration": float("inf")},
        {"acs_lines": -1},
        {"pattern": "spiral"},
        {"mask": "other"},
        {"further_lines": -1},
        {"sigma": -0.1},
        {"unknown": 1},
    ],
)
def test_refuses_impossible_settings(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        MultiCoilFourierSettings(**({"acceleration": 4, "acs_lines": 4} | wrong))


def test_the_global_random_state_is_never_touched():
    like, corruption = scans(), build(sigma=0.1)
    image = random_tensor((6, 1, 12, 32), torch.complex64, 2)
    state = torch.random.get_rng_state()
    corruption.further(corruption.corrupt(image, like, generator()).operator, generator())
    build(mask="file").draw(like, generator())
    corruption.draw_mask(32, generator())
    assert torch.random.get_rng_state().equal(state)


@pytest.mark.parametrize(("removed", "expected"), [(None, None), (0, 0), (1, 2), (4, 8)])
def test_at_another_width_central_and_removed_columns_keep_their_share(removed, expected):
    wider = (
        MultiCoilFourierSettings(acceleration=4, acs_lines=8, mask="file", further_lines=removed, sigma=0.1)
        .build()
        .at_width(128, 64)
    )
    assert (wider.settings.acceleration, wider.settings.acs_lines, wider.settings.further_lines) == (4, 16, expected)
    assert (wider.mask, wider.settings.pattern, wider.sigma) == ("draw", "random", 0.1)
