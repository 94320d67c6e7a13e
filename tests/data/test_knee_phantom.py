import pickle

import pydantic
import pytest
import torch

from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.operators.fourier import ifft2c


def source(seed=0, **settings):
    return KneePhantomSettings(**({"num_images": 40} | settings)).build(seed=seed)


def test_a_scan_is_fully_acquired_and_carries_its_maps():
    scans = source(size=32, coils=4)
    scan = scans[3]
    assert scan.kspace.shape == scan.maps.shape == scans.shape(3) == (4, 32, 32)
    assert scan.kspace.dtype == scan.maps.dtype == torch.complex64
    assert scan.acquired.shape == (32,)
    assert scan.acquired.all()
    assert scan.id == scans.id(3) == "knee_phantom_train_000003"
    assert scan.geometry.affine is None
    assert scan.geometry.spacing_mm == (5.0, 5.0)


@pytest.mark.parametrize(("size", "coils"), [(32, 4), (33, 3), (64, 1)])
def test_without_noise_the_kspace_is_that_of_the_image(size, coils):
    scans = source(size=size, coils=coils, sigma=0.0)
    scan = scans[0]
    combined = (scan.maps.conj() * ifft2c(scan.kspace)).sum(0)
    assert torch.allclose(combined, scans.complex_image(0), atol=1e-5)
    assert torch.allclose(combined.abs(), scans.image(0), atol=1e-5)


def test_noise_has_the_declared_deviation_per_real_component():
    noisy, clean = source(size=64, sigma=0.05), source(size=64, sigma=0.0)
    noise = torch.view_as_real(noisy[0].kspace - clean[0].kspace)
    assert noise.std().item() == pytest.approx(0.05, rel=0.03)
    assert noise.mean().abs() < 0.002


def test_scans_depend_on_seed_split_and_number_alone():
    first, again = source(), source()
    [again[index] for index in (7, 2)]  # the order of reading does not matter
    assert torch.equal(first[5].kspace, again[5].kspace)
    assert torch.equal(first[5].maps, again[5].maps)
    others = [source(seed=1)[5], source(split="test")[5], first[6]]
    assert all((first[5].kspace - other.kspace).abs().mean() > 0.01 for other in others)
    assert len({first.id(0), source(split="test").id(0), first.id(1)}) == 3


def test_noise_and_coils_do_not_change_the_anatomy():
    assert torch.equal(source(coils=4, sigma=0.0).image(0), source(coils=8, sigma=0.1).image(0))


def test_more_images_begin_with_the_same_ones():
    assert torch.equal(source(num_images=3)[2].kspace, source(num_images=30)[2].kspace)


@pytest.mark.parametrize("size", [32, 64])
def test_images_look_like_a_limb_in_air(size):
    knees = source(size=size)
    images = torch.stack([knees.image(index) for index in range(20)])
    assert images.min() >= 0
    assert 0.7 < images.quantile(0.999) < 1.5
    assert (images[:, :, 0] < 0.02).float().mean() > 0.9  # air in front of the knee
    inside = (images > 0.03).float().mean((1, 2))
    assert inside.min() > 0.3
    assert inside.max() < 0.9
    middle = images[:, size // 2 - 3 : size // 2 + 3, size // 4 : 3 * size // 4]
    assert (middle > 0.03).float().mean() > 0.9


def test_images_vary_in_shape_and_contrast():
    knees = source()
    images = torch.stack([knees.image(index) for index in range(40)])
    distances = torch.cdist(images.flatten(1), images.flatten(1))
    apart = distances[~torch.eye(40, dtype=torch.bool)]
    assert apart.min() > 1.0  # no two knees are alike
    weights = (images > 0.03).float().sum((1, 2))
    brightness = images.sum((1, 2)) / weights
    assert brightness.max() / brightness.min() > 2  # proton density, T1, fat-suppressed


def test_supersampling_refines_the_edges_only():
    rough, fine = source(supersample=1, size=64).image(0), source(supersample=4, size=64).image(0)
    assert 0 < (rough - fine).abs().mean() < 0.03


def test_a_copy_for_another_process_gives_the_same_scans():
    scans = source()
    assert torch.equal(pickle.loads(pickle.dumps(scans))[1].kspace, scans[1].kspace)


def test_past_the_end_is_an_index_error():
    scans = source(num_images=2)
    assert len(list(scans)) == len(scans) == 2
    for read in (scans.__getitem__, scans.id, scans.shape, scans.image):
        with pytest.raises(IndexError):
            read(2)


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    source()[0]
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("bad", [{"num_images": 0}, {"coils": 0}, {"sigma": -1}, {"size": 4}, {"split": "val"}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(pydantic.ValidationError):
        KneePhantomSettings(**bad)
