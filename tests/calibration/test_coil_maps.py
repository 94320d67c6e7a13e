"""Coil maps: normalised, right on known coils, from the centre alone, kept on disk."""

import logging

import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError
from rsd_med.calibration import coil_maps as module
from rsd_med.calibration.coil_maps import chosen_maps
from rsd_med.calibration.map_cache import cache_folder
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.nlinv import Derivative
from rsd_med.calibration.phase import normalised, object_phase
from rsd_med.calibration.quality import map_quality
from rsd_med.data.coils import birdcage_maps, smooth_phase
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.masks import acs_slice
from rsd_med.operators.noise import complex_or_real_noise

SHAPE = (40, 36)


def coil_maps(*arguments, **options):
    (maps,) = chosen_maps(*arguments, **options).maps
    return maps


@pytest.fixture(scope="module")
def truth():
    """True maps, the support, and the k-space of a disc with some structure."""
    generator = Draws().manual_seed(3)
    maps = birdcage_maps(4, SHAPE, generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SHAPE[0]), torch.linspace(-1, 1, SHAPE[1]), indexing="ij")
    disc = (y**2 + x**2 < 0.6).float()
    magnitude = disc * (1 + 0.3 * torch.cos(9 * x) * torch.cos(7 * y))
    image = torch.polar(magnitude, smooth_phase(SHAPE, generator, amplitude=0.5))
    return maps, disc.bool(), fft2c(maps * image)


def only(kspace, lines):
    sampled = torch.zeros(SHAPE[1], dtype=torch.bool)
    sampled[acs_slice(SHAPE[1], lines)] = True
    return torch.where(sampled, kspace, 0), sampled


def misfit(kspace, maps):
    """The part of the coil images that maps cannot explain."""
    images = ifft2c(kspace)
    combined = (maps.conj() * images).sum(0)
    return float((images - maps * combined).norm() / images.norm())


@pytest.mark.parametrize(
    ("kind", "lines", "bound"),
    [("espirit", 24, 0.02), ("espirit", 16, 0.03), ("walsh", 24, 0.08), ("nlinv", 24, 0.08)],
)
def test_maps_explain_the_coil_images(truth, kind, lines, bound):
    maps, disc, kspace = truth
    found = coil_maps(*only(kspace, lines), CoilMapSettings(kind=kind, cache=False, crop=0.8))
    assert misfit(kspace, found) < bound
    likeness = (found.conj() * maps).sum(0).abs()[disc]
    assert likeness.mean() > 0.99


@pytest.mark.parametrize("kind", ["espirit", "walsh", "nlinv"])
def test_maps_are_normalised_inside_the_support_and_zero_outside(truth, kind):
    kspace, sampled = only(truth[2], 20)
    maps = coil_maps(kspace, sampled, CoilMapSettings(kind=kind, cache=False))
    power = maps.abs().square().sum(0)
    inside = power > 0.5
    assert maps.dtype == torch.complex64
    assert maps.shape == kspace.shape
    assert torch.allclose(power[inside], torch.ones(()), atol=1e-5)
    assert not power[~inside].any()
    assert inside.float().mean() > 0.3


@pytest.mark.parametrize("kind", ["espirit", "walsh", "nlinv"])
def test_maps_do_not_depend_on_the_units_of_k_space(truth, kind):
    kspace, sampled = only(truth[2], 20)
    settings = CoilMapSettings(kind=kind, cache=False)
    small = coil_maps(kspace * 2.0**-80, sampled, settings)
    assert torch.allclose(small, coil_maps(kspace, sampled, settings), atol=1e-4)


def test_espirit_normalisation_on_the_real_brain(shared_data):
    import h5py

    with h5py.File(shared_data / "mri_kspace_real" / "brain_8ch_full.h5") as file:
        kspace = torch.from_numpy(file["kspace"][()])
        known = torch.from_numpy(file["sens_maps_espirit"][()])
    maps = coil_maps(kspace, torch.ones(180, dtype=torch.bool), CoilMapSettings(kind="espirit", iterations=15))
    power = maps.abs().square().sum(0)
    inside = power > 0
    assert torch.allclose(power[inside], torch.ones(()), atol=1e-5)
    assert 0.6 < inside.float().mean() < 0.8
    both = inside & (known.abs().sum(0) > 0)
    assert (known.conj() * maps).sum(0).abs()[both].mean() > 0.999
    assert misfit(kspace, maps) < 0.12


@pytest.mark.parametrize("kind", ["espirit", "walsh"])
def test_only_the_sampled_centre_is_looked_at(truth, kind):
    kspace, sampled = only(truth[2], 16)
    settings = CoilMapSettings(kind=kind, cache=False)
    other = torch.where(sampled, kspace, torch.randn(kspace.shape, dtype=torch.complex64))
    assert torch.equal(coil_maps(kspace, sampled, settings), coil_maps(other, sampled, settings))


@pytest.mark.parametrize("lines", [2, 3, 5, 8, 11])
def test_few_lines_still_give_maps(truth, lines):
    maps = coil_maps(*only(truth[2], lines))
    power = maps.abs().square().sum(0)
    assert torch.isfinite(torch.view_as_real(maps)).all()
    assert (power > 0.5)[truth[1]].float().mean() > 0.9


def test_espirit_adapts_its_kernel_to_a_small_centre(truth):
    maps = coil_maps(*only(truth[2], 6), CoilMapSettings(kind="espirit", crop=0.5, cache=False))
    assert torch.isfinite(torch.view_as_real(maps)).all()


@pytest.mark.parametrize("columns", [36, 35])
def test_odd_matrices(columns):
    generator = Draws().manual_seed(0)
    maps = birdcage_maps(3, (33, columns), generator)
    kspace = fft2c(maps * torch.ones(1, 33, columns, dtype=torch.complex64))
    for kind in ("espirit", "walsh", "nlinv"):
        settings = CoilMapSettings(kind=kind, cache=False, crop=0, sets=1)
        for lines in (14, 15):
            sampled = torch.zeros(columns, dtype=torch.bool)
            sampled[acs_slice(columns, lines)] = True
            found = coil_maps(torch.where(sampled, kspace, 0), sampled, settings)
            assert (found.conj() * maps).sum(0).abs().mean() > 0.95


def test_auto_takes_what_applies(truth):
    off = CoilMapSettings(cache=False)
    kspace, sampled = only(truth[2], 20)
    assert chosen_maps(kspace, sampled, off).kind == "espirit"
    stored = chosen_maps(kspace, sampled, off, stored=3 * truth[0])
    assert stored.kind == "file"
    assert torch.allclose(stored.maps[0], truth[0], atol=1e-5)
    assert torch.equal(coil_maps(kspace[:1], sampled, off), torch.ones(1, *SHAPE, dtype=torch.complex64))


def test_auto_takes_nlinv_where_espirit_is_blind_to_half_of_the_object(shared_data):
    """Twelve lines of the real brain: ESPIRiT finds maps, but they do not explain the data."""
    scan = FastMRIHDF5(shared_data / "fastmri_format" / "real_brain_8ch.h5")[0]
    sampled = torch.zeros(180, dtype=torch.bool)
    sampled[acs_slice(180, 12)] = True
    kspace = torch.where(sampled, scan.kspace, 0)
    forced = coil_maps(kspace, sampled, CoilMapSettings(kind="espirit", cache=False))
    assert not map_quality(forced, kspace, sampled).explains
    chosen = chosen_maps(kspace, sampled, CoilMapSettings(cache=False))
    assert chosen.kind == "nlinv"
    assert map_quality(chosen.maps, kspace, sampled).explains


@pytest.mark.parametrize(
    ("kind", "lines", "because"),
    [("file", 20, "no coil maps"), ("ones", 20, "4 coils"), ("walsh", 0, "not sampled"), ("espirit", 1, "not sampled")],
)
def test_maps_that_cannot_be_had(truth, kind, lines, because):
    with pytest.raises(DataError, match=because):
        coil_maps(*only(truth[2], lines), CoilMapSettings(kind=kind))


def test_a_centre_of_zeros(truth):
    kspace, sampled = only(truth[2], 20)
    with pytest.raises(DataError, match="zero"):
        coil_maps(torch.zeros_like(kspace), sampled)


def test_noise_has_no_support_in_espirit_but_maps_in_auto():
    noise = torch.randn(4, *SHAPE, dtype=torch.complex64, generator=Draws().manual_seed(0))
    everything = torch.ones(SHAPE[1], dtype=torch.bool)
    strict = {"crop": 0.9999, "threshold": 0.5, "cache": False, "sets": 1}
    with pytest.raises(DataError, match=r"calibration\.maps\.crop"):
        coil_maps(noise, everything, CoilMapSettings(kind="espirit", **strict))
    assert coil_maps(noise, everything, CoilMapSettings(**strict)).any()


def test_normalised_keeps_zeros():
    maps = torch.zeros(2, 1, 3, dtype=torch.complex64)
    maps[:, 0, 0] = torch.tensor([3, 4j])
    maps[0, 0, 1] = 1e-12
    assert torch.allclose(normalised(maps).abs().square().sum(0), torch.tensor([[1.0, 1.0, 0.0]]))


def test_the_object_phase_is_smooth_and_ignores_the_phase_it_was_given(truth):
    maps, _, kspace = truth
    centre = kspace[..., 8:32, 6:30]
    turned = maps * torch.polar(torch.ones(SHAPE), 6.28 * torch.rand(SHAPE))
    assert torch.allclose(object_phase(maps, centre), object_phase(turned, centre), atol=1e-5)


# --- two sets, few lines, much noise ---------------------------------------------------------------------------------


def wrapped(columns):
    """A disc cut to a field of view of so many columns: what lies outside falls in from the other side."""
    wide = (40, 48)
    maps = birdcage_maps(6, wide, Draws().manual_seed(3))
    y, x = torch.meshgrid(torch.linspace(-1, 1, wide[0]), torch.linspace(-1, 1, wide[1]), indexing="ij")
    disc = (y**2 + x**2 < 0.8) * (1 + 0.3 * torch.cos(9 * x) * torch.cos(7 * y))
    images = maps * torch.polar(disc, smooth_phase(wide, Draws().manual_seed(4), amplitude=0.5))
    first = (wide[1] - columns) // 2
    folded = torch.zeros(6, wide[0], columns, dtype=images.dtype)
    for column in range(wide[1]):
        folded[..., (column - first) % columns] += images[..., column]
    return fft2c(folded)


def test_two_sets_are_taken_where_the_object_is_larger_than_the_field_of_view_and_there_alone():
    everything = {columns: torch.ones(columns, dtype=torch.bool) for columns in (48, 32)}
    settings = CoilMapSettings(cache=False)
    whole = chosen_maps(wrapped(48), everything[48], settings)
    assert len(whole.maps) == 1
    assert whole.second_eigenvalue < 0.01
    kspace = wrapped(32)
    folded = chosen_maps(kspace, everything[32], settings)
    assert folded.maps.shape == (2, 6, 40, 32)
    assert folded.second_eigenvalue > 0.05
    gram = torch.einsum("mcyx,ncyx->mnyx", folded.maps.conj(), folded.maps)
    assert gram[0, 1].abs().max() < 1e-5
    assert all(torch.isclose(power, torch.tensor([0.0, 1.0])).any() for power in gram[0, 0].real.flatten()[::37])
    one = chosen_maps(kspace, everything[32], settings.model_copy(update={"sets": 1}))
    assert len(one.maps) == 1
    assert one.second_eigenvalue == folded.second_eigenvalue
    left = [map_quality(chosen.maps, kspace, everything[32]).residual for chosen in (one, folded)]
    assert left[1] < 0.5 * left[0]


def test_noise_is_not_taken_for_a_second_place_on_a_pixel():
    kspace = wrapped(48)
    sigma = 0.01 * float(kspace.abs().max())
    noise = complex_or_real_noise(kspace, sigma, Draws().manual_seed(0))
    everything = torch.ones(48, dtype=torch.bool)
    # Of noise, all eigenvalues are near 1, unless its level is known.
    assert chosen_maps(kspace + noise, everything, CoilMapSettings(cache=False)).second_eigenvalue > 0.5
    known = chosen_maps(kspace + noise, everything, CoilMapSettings(cache=False), sigma=sigma)
    assert known.kind == "espirit"
    assert known.second_eigenvalue < 0.01
    assert len(known.maps) == 1


def undersampled(kspace, lines, step):
    """Central lines, and every so manieth beyond."""
    sampled = torch.zeros(kspace.shape[-1], dtype=torch.bool)
    sampled[::step] = True
    sampled[acs_slice(kspace.shape[-1], lines)] = True
    return torch.where(sampled, kspace, 0), sampled


@pytest.mark.parametrize("lines", [4, 6])
def test_lines_beyond_a_small_centre_tell_of_the_maps(truth, lines):
    maps, disc, kspace = truth
    noise = complex_or_real_noise(kspace, 0.02 * float(ifft2c(kspace).abs().max()), Draws().manual_seed(0))
    measured = undersampled(kspace + noise, lines, 4)
    unlike = {}
    for kind in ("nlinv", "espirit", "walsh"):
        settings = CoilMapSettings(kind=kind, cache=False, kernel_width=3, crop=0.5, sets=1)
        likeness = (coil_maps(*measured, settings).conj() * maps).sum(0).abs()
        unlike[kind] = float(1 - likeness[disc].mean())
    assert unlike["nlinv"] < 0.005
    assert unlike["nlinv"] < 0.5 * min(unlike["espirit"], unlike["walsh"])
    assert chosen_maps(*measured, CoilMapSettings(cache=False)).kind == "nlinv"


def test_few_lines_of_the_real_brain_give_the_maps_of_the_whole_scan(shared_data):
    scan = FastMRIHDF5(shared_data / "fastmri_format" / "real_brain_8ch.h5")[0]
    whole = coil_maps(scan.kspace, torch.ones(180) > 0, CoilMapSettings(kind="espirit", sets=1, cache=False))
    size = ifft2c(scan.kspace).abs().square().sum(0).sqrt()
    head = (size > 0.1 * size.max()) & (whole.abs().sum(0) > 0)
    measured = undersampled(scan.kspace, 7, 9)
    unlike = {}
    for kind in ("auto", "espirit", "walsh"):
        settings = CoilMapSettings(kind=kind, kernel_width=4, crop=0.8, sets=1, cache=False)
        maps = coil_maps(*measured, settings)
        # What is dark counts as wrong: a pixel of the head has no other way to be seen.
        unlike[kind] = float(1 - (maps.conj() * whole).sum(0).abs()[head].mean())
    assert unlike["auto"] < 0.5 * min(unlike["espirit"], unlike["walsh"])


def test_the_derivative_of_nonlinear_inversion_is_one_and_has_its_adjoint(truth):
    generator = Draws().manual_seed(1)
    point, step = (torch.randn(5, *SHAPE, dtype=torch.complex128, generator=generator) for _ in range(2))
    weights, measured = torch.rand(SHAPE, dtype=torch.float64, generator=generator), torch.rand(SHAPE) > 0.5

    def data(at):
        return measured * fft2c(at[:1] * ifft2c(weights * at[1:]))

    derivative = Derivative(point[:1], ifft2c(weights * point[1:]), measured, weights)
    change = (data(point + 1e-6 * step) - data(point - 1e-6 * step)) / 2e-6
    assert torch.allclose(derivative.forward(step), change, rtol=1e-6, atol=1e-8)
    other = torch.randn(4, *SHAPE, dtype=torch.complex128, generator=generator)
    left, right = (derivative.forward(step) * other.conj()).sum(), (step * derivative.adjoint(other).conj()).sum()
    assert torch.allclose(left, right)


def test_stored_sets_are_made_orthonormal_and_one_can_be_asked_for(truth):
    maps, _, kspace = truth
    sets = torch.stack([2 * maps, maps + 0.3 * maps.roll(1, 0)])
    chosen = chosen_maps(*only(kspace, 20), CoilMapSettings(), sets).maps
    gram = torch.einsum("mcyx,ncyx->mnyx", chosen.conj(), chosen)
    assert torch.allclose(gram, torch.eye(2, dtype=gram.dtype)[..., None, None].expand_as(gram), atol=1e-4)
    assert torch.equal(chosen_maps(*only(kspace, 20), CoilMapSettings(sets=1), sets).maps, chosen[:1])
    with pytest.raises(DataError, match="holds one set"):
        chosen_maps(*only(kspace, 20), CoilMapSettings(sets=2), maps)


# --- the cache ------------------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    calls = []
    original = module.espirit_eigenmaps
    monkeypatch.setattr(module, "espirit_eigenmaps", lambda *a: calls.append(1) or original(*a))
    return calls


def test_maps_are_computed_once(truth, tmp_path, counted):
    kspace, sampled = only(truth[2], 20)
    settings = CoilMapSettings(kind="espirit", sets=1, cache_dir=str(tmp_path))
    first = coil_maps(kspace, sampled, settings)
    assert torch.equal(coil_maps(kspace, sampled, settings), first)
    assert len(counted) == 1
    coil_maps(kspace, sampled, settings.model_copy(update={"kernel_width": 5}))
    coil_maps(kspace, sampled, settings.model_copy(update={"crop": 0.9}))  # of the same vectors
    coil_maps(kspace + 0.1 * sampled, sampled, settings)
    assert len(counted) == 3
    assert [path.suffix for path in (tmp_path / "coil_maps").iterdir()] == [".safetensors"] * 3


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_entry_is_computed_anew(truth, tmp_path, counted, damage):
    kspace, sampled = only(truth[2], 20)
    settings = CoilMapSettings(kind="espirit", cache_dir=str(tmp_path))
    first = coil_maps(kspace, sampled, settings)
    (entry,) = (tmp_path / "coil_maps").iterdir()
    whole = entry.read_bytes()
    entry.write_bytes(whole[:-40] if damage is None else damage)
    assert torch.equal(coil_maps(kspace, sampled, settings), first)
    assert len(counted) == 2
    assert entry.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_done_without(truth, tmp_path, caplog):
    (tmp_path / "file").touch()
    kspace, sampled = only(truth[2], 20)
    with caplog.at_level(logging.WARNING):
        maps = coil_maps(kspace, sampled, CoilMapSettings(kind="espirit", cache_dir=str(tmp_path / "file")))
    assert maps.any()
    assert "cannot be cached" in caplog.text


def test_the_cache_lies_with_the_users_caches(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "rsd_med"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "rsd_med"
    assert cache_folder("~/maps") == tmp_path / "maps"
