"""From items to measurements: fixed per item, scaled, and blind to what was not acquired."""

import pickle

import h5py
import numpy as np
import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.scale import acs_scale
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings, NoCorruptionSettings, NoiseSettings
from rsd_med.corruptions.fourier import FourierSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.measurements import MeasurementDataset, collate
from rsd_med.data.scan import Picture
from rsd_med.data.source import Source
from rsd_med.operators.fourier import ifft2c

from .conftest import complex_noise


class Pictures(Source):
    """Two pictures in memory."""

    def __init__(self, image):
        self.image = image

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return Picture(id=self.id(index), image=self.image)

    def shape(self, index):
        return tuple(self.image.shape)

    def id(self, index):
        return f"picture_{range(2)[index]}"


def knees(coils=3, num_images=3):
    return KneePhantomSettings(num_images=num_images, size=32, coils=coils, supersample=1).build(seed=5)


def undersampling(acceleration=2, acs_lines=8, **more):
    return MultiCoilFourierSettings(acceleration=acceleration, acs_lines=acs_lines, **more).build()


def plain(**maps):
    """Calibration that leaves the coils of simulated scans as they are."""
    return CalibrationSettings(noise="none", maps=CoilMapSettings(**maps))


def measurements(source, corruption, seed=0, **more):
    return MeasurementDataset(source, corruption, seed, **{"calibration": plain()} | more)


def same(one: Measurement, other: Measurement) -> bool:
    tensors = [(m.data, m.operator.mask, m.operator.maps, m.sigma, m.scale) for m in (one, other)]
    return one.ids == other.ids and all(torch.equal(a, b) for a, b in zip(*tensors, strict=True))


# --- k-space --------------------------------------------------------------------------------------------------------


def test_a_scan_becomes_masked_scaled_k_space():
    source, dataset = knees(), measurements(knees(), undersampling())
    measurement = dataset[1]
    scan = source[1]
    mask = measurement.operator.mask[0, 0, 0]
    assert measurement.ids == (scan.id,)
    assert mask.sum() == 16
    assert mask[12:20].all()
    assert not measurement.data[..., ~mask].any()
    assert torch.allclose(measurement.data[0] * measurement.scale, scan.kspace * mask, atol=1e-6)
    assert measurement.scale.item() == pytest.approx(acs_scale(scan.kspace * mask, 8), rel=1e-6)
    assert measurement.sigma.tolist() == [0.0]
    assert measurement.image().shape == (1, 1, 32, 32)
    assert dataset.shape(1) == (3, 32, 32) == tuple(measurement.data.shape[1:])


def test_an_item_is_corrupted_once_and_for_all():
    first = measurements(knees(), undersampling(sigma=0.1), cache_bytes=0)
    again = measurements(knees(), undersampling(sigma=0.1))
    items = [first[index] for index in range(3)]
    assert same(items[2], first[2])
    assert same(items[2], again[2])  # in another order, in another process
    assert not torch.equal(items[0].operator.mask, items[1].operator.mask)
    other = measurements(knees(), undersampling(sigma=0.1), seed=1)
    assert not torch.equal(other[0].operator.mask, items[0].operator.mask)


def test_added_noise_has_the_level_that_is_stated_and_touches_sampled_entries_only():
    clean = measurements(knees(), undersampling())[0]
    noisy = measurements(knees(), undersampling(sigma=0.2))[0]
    assert torch.equal(clean.operator.mask, noisy.operator.mask)
    noise = (noisy.data - clean.data)[..., clean.operator.mask[0, 0, 0]]
    assert noise.real.std().item() == pytest.approx(0.2, rel=0.06)
    assert noise.imag.std().item() == pytest.approx(0.2, rel=0.06)
    assert not noisy.data[..., ~clean.operator.mask[0, 0, 0]].any()
    assert noisy.sigma.item() == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["espirit", "walsh", "auto"])
def test_nothing_that_was_not_acquired_has_any_influence(write_file, shared_data, kind):
    with h5py.File(shared_data / "fastmri_format" / "synth_multicoil_train_0.h5") as file:
        kspace, reference = file["kspace"][:, :, 64:192], file["reconstruction_rss"][()]
    settings = plain(kind=kind, iterations=5, cache=False)
    corruption = undersampling(acceleration=4, acs_lines=16)

    def measured(kspace, reference):
        path = write_file(kspace=kspace, reconstruction_rss=reference, attrs={"max": reference.max(), "norm": 1.0})
        return measurements(FastMRIHDF5(path), corruption, seed=3, calibration=settings)[1]

    original = measured(kspace, reference)
    unseen = ~original.operator.mask[0, 0, 0].numpy()
    assert unseen.sum() == 96
    scrambled = kspace.copy()
    scrambled[..., unseen] = 50 * complex_noise(*scrambled[..., unseen].shape)
    scrambled[0] = complex_noise(*scrambled[0].shape, seed=1)  # and the other slice
    assert same(original, measured(scrambled, np.random.default_rng(0).random(reference.shape)))


def test_nothing_outside_the_mask_of_a_file_has_any_influence(write_file, shared_data):
    with h5py.File(shared_data / "fastmri_format" / "synth_multicoil_test_masked.h5") as file:
        kspace, mask = file["kspace"][:1], file["mask"][()]

    def measured(kspace):
        source = FastMRIHDF5(write_file(kspace=kspace, mask=mask))
        return measurements(source, undersampling(acceleration=4, acs_lines=10, mask="file"))[0]

    original = measured(kspace)
    assert torch.equal(original.operator.mask[0, 0, 0], torch.from_numpy(mask))
    scrambled = kspace.copy()
    scrambled[..., ~mask] = complex_noise(*scrambled[..., ~mask].shape)
    assert same(original, measured(scrambled))


def test_drawn_masks_leave_out_what_the_file_lacks(write_file):
    kspace = complex_noise(4, 2, 16, 24)
    kspace[..., :4] = 0
    dataset = measurements(FastMRIHDF5(write_file(kspace=kspace)), undersampling(acs_lines=4))
    for index in range(4):
        mask = dataset[index].operator.mask
        assert not mask[..., :4].any()
        assert mask.sum() == 10
    # So do those of generated images.
    batch = collate([dataset[index] for index in range(4)])
    fresh = dataset.corruption.draw(batch[1:], Draws().manual_seed(1)).mask
    assert not fresh[..., :4].any()
    assert (fresh.sum((1, 2, 3)) == 10).all()


def test_a_file_with_gaps_is_not_undersampled_again(write_file):
    source = FastMRIHDF5(write_file(mask=np.arange(12) % 2 == 0))
    with pytest.raises(DataError, match=r"scan_000.*corruption\.mask: file"):
        measurements(source, undersampling(acs_lines=2))[0]


def test_a_fully_sampled_file_may_be_taken_as_it_is(write_file):
    source = FastMRIHDF5(write_file())
    measurement = measurements(source, undersampling(acceleration=1, acs_lines=6, mask="file"))[0]
    assert measurement.operator.mask.all()


def test_fewer_central_lines_than_asked_for_give_the_scale_of_those_there_are(write_file):
    mask = np.isin(np.arange(12), [1, 4, 5, 6, 7])
    source = FastMRIHDF5(write_file(mask=mask))
    measurement = measurements(source, undersampling(acs_lines=10, mask="file"))[0]
    assert measurement.scale.item() == pytest.approx(acs_scale(source[0].kspace, 4), rel=1e-6)


def test_stored_maps_are_used_and_normalised():
    dataset = measurements(knees(), undersampling())
    assert torch.allclose(dataset[0].operator.maps[0], knees().maps(0), atol=1e-6)
    estimated = measurements(knees(), undersampling(), calibration=plain(kind="walsh"))
    assert not torch.allclose(estimated[0].operator.maps[0], knees().maps(0), atol=1e-2)


def test_single_coil():
    measurement = measurements(knees(coils=1), undersampling())[0]
    assert torch.equal(measurement.operator.maps, torch.ones(1, 1, 32, 32, dtype=torch.complex64))


def test_an_impossible_acceleration_names_the_item_and_the_key():
    with pytest.raises(ProtocolError, match=r"knee_phantom_train_000000: corruption\.acceleration"):
        measurements(knees(), undersampling(acceleration=8, acs_lines=8))[0]


def test_a_scan_without_signal_in_the_centre_names_the_item(write_file):
    kspace = complex_noise(1, 2, 16, 12)
    kspace[:, :, 6:10] = 0
    with pytest.raises(DataError, match="scan_000: The centre"):
        measurements(FastMRIHDF5(write_file(kspace=kspace)), undersampling(acs_lines=3))[0]


# --- the real brain -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brain(shared_data):
    """The known image of the real brain and the reader's view of the same scan."""
    with h5py.File(shared_data / "mri_kspace_real" / "brain_8ch_full.h5") as file:
        kspace, maps = torch.from_numpy(file["kspace"][()]), torch.from_numpy(file["sens_maps_espirit"][()])
    known = (maps.conj() * ifft2c(kspace)).sum(0)
    return known, FastMRIHDF5(shared_data / "fastmri_format" / "real_brain_8ch.h5")


def test_the_fully_sampled_real_brain_is_upright_and_keeps_its_units(brain):
    known, source = brain
    settings = plain(kind="espirit", iterations=15)
    dataset = measurements(source, undersampling(acceleration=1, acs_lines=24), calibration=settings)
    measurement = dataset[0]
    image = (measurement.image() * measurement.scale)[0, 0].abs()
    assert (image - known.abs()).norm() / known.norm() < 0.01
    assert torch.allclose(
        dataset.reference(0) * measurement.scale, measurement.image()[0] * measurement.scale, atol=1e-2
    )
    assert 1 < measurement.image().abs().max() < 3  # the 99th percentile is about 1


def test_the_undersampled_real_brain_is_blurred_in_place(brain):
    known, source = brain
    settings = plain(kind="walsh")
    measurement = measurements(source, undersampling(acceleration=4, acs_lines=24), calibration=settings)[0]
    image = (measurement.image() * measurement.scale)[0, 0].abs()
    assert (image - known.abs()).norm() / known.norm() < 0.3
    for turned in (image.flip(0), image.flip(1), image.flip(0, 1)):
        assert (turned - known.abs()).norm() > 1.5 * (image - known.abs()).norm()


# --- images ---------------------------------------------------------------------------------------------------------


def test_a_picture_gets_its_noise_once():
    image = torch.linspace(-1, 1, 48).reshape(3, 4, 4)
    dataset = measurements(Pictures(image), NoiseSettings(sigma=0.5).build(), cache_bytes=0)
    assert torch.equal(dataset[0].data, dataset[0].data)
    assert not torch.equal(dataset[0].data, dataset[1].data)
    assert dataset[0].data.shape == (1, 3, 4, 4)
    assert dataset.shape(0) == (3, 4, 4)
    assert dataset[0].scale.item() == 1
    assert torch.equal(dataset.reference(0), image)


def test_pictures_have_no_k_space():
    with pytest.raises(ProtocolError, match=r"picture_0.*corruption\.kind"):
        measurements(Pictures(torch.zeros(1, 8, 8)), undersampling())[0]


def single_coil(**more):
    return FourierSettings(acceleration=2, acs_lines=4, **more).build()


@pytest.mark.parametrize("real", [True, False])
def test_a_picture_becomes_single_coil_k_space(real):
    """A real picture is a magnitude, black is 0; the k-space is NumPy's, the reference the image over the scale."""
    generator = Draws().manual_seed(0)
    image = torch.rand(1, 12, 15, generator=generator) * 2 - 1
    image = image if real else torch.complex(image, torch.rand(1, 12, 15, generator=generator))
    dataset = measurements(Pictures(image), single_coil())
    first, second = dataset[0], dataset[1]
    assert dataset.shape(0) == (1, 12, 15) == tuple(first.data.shape[1:])
    assert first.operator.maps.equal(torch.ones(1, 1, 12, 15, dtype=torch.complex64))
    assert first.operator.mask.sum() in (7, 8)
    assert not first.operator.mask.equal(second.operator.mask)
    clean = ((image + 1) / 2 if real else image).numpy()[0]
    whole = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(clean), norm="ortho"))
    expected = torch.from_numpy(whole).masked_fill(~first.operator.mask[0, 0], 0)
    assert torch.allclose(first.data[0, 0] * first.scale, expected.to(torch.complex64), atol=1e-5)
    assert torch.allclose(dataset.reference(0) * first.scale, torch.from_numpy(clean).to(torch.complex64), atol=1e-5)


@pytest.mark.parametrize("pattern", ["poisson_disk", "radial"])
def test_a_picture_can_be_undersampled_in_the_plane_with_noise(pattern):
    measurement = measurements(Pictures(torch.zeros(1, 16, 16)), single_coil(pattern=pattern, sigma=0.1), 0)[0]
    mask = measurement.operator.mask
    assert mask.shape == (1, 1, 16, 16)
    assert mask.sum() == 128
    assert measurement.data[~mask].count_nonzero() == 0
    assert measurement.data[mask].count_nonzero() == 128


def test_colours_and_coils_are_not_for_a_single_coil():
    with pytest.raises(DataError, match=r"picture_0.*3 channels"):
        measurements(Pictures(torch.zeros(3, 16, 16)), single_coil())[0]
    with pytest.raises(ProtocolError, match=r"3 coils.*multicoil_fourier"):
        measurements(knees(), single_coil())[0]
    assert measurements(knees(coils=1), single_coil())[0].data.shape == (1, 1, 32, 32)


@pytest.mark.parametrize("settings", [NoCorruptionSettings(), NoiseSettings(sigma=0.1)])
def test_a_fully_sampled_scan_becomes_its_complex_image(settings):
    source = knees()
    dataset = measurements(source, settings.build())
    measurement = dataset[0]
    assert dataset.shape(0) == (1, 32, 32) == tuple(measurement.data.shape[1:])
    assert measurement.data.is_complex()
    reference = dataset.reference(0)
    assert torch.allclose(reference * measurement.scale, source.complex_image(0)[None], atol=0.05)
    difference = (measurement.data[0] - reference).abs().square().mean().sqrt().item()
    assert difference == pytest.approx(dataset.corruption.sigma * 2**0.5, rel=0.1)


def test_an_undersampled_scan_has_no_image(write_file):
    dataset = measurements(FastMRIHDF5(write_file(mask=np.arange(12) % 2 == 0)), NoCorruptionSettings().build(), 0)
    with pytest.raises(DataError, match=r"scan_000.*undersampled"):
        dataset[0]


# --- references, groups, memory -------------------------------------------------------------------------------------


def test_the_reference_is_the_clean_image_in_the_units_of_the_measurement():
    source = knees()
    dataset = measurements(source, undersampling())
    reference = dataset.reference(2)
    assert reference.shape == (1, 32, 32)
    assert torch.allclose(reference * dataset[2].scale, source.complex_image(2)[None], atol=0.05)
    assert reference.abs().quantile(0.99).item() == pytest.approx(1, abs=0.3)


def test_an_undersampled_scan_has_no_reference(write_file):
    source = FastMRIHDF5(write_file(mask=np.arange(12) % 2 == 0))
    with pytest.raises(DataError, match="no reference"):
        measurements(source, undersampling(mask="file")).reference(0)


def test_items_are_grouped_by_shape_and_stacked(write_file, tmp_path):
    write_file("a", kspace=complex_noise(2, 2, 16, 12))
    write_file("b", kspace=complex_noise(1, 3, 16, 12))
    write_file("c", kspace=complex_noise(1, 2, 16, 12))
    dataset = measurements(FastMRIHDF5(tmp_path), undersampling(acs_lines=4))
    assert dataset.groups() == {(2, 16, 12): [0, 1, 3], (3, 16, 12): [2]}
    batch = collate([dataset[index] for index in (0, 1, 3)])
    assert batch.ids == ("a_000", "a_001", "c_000")
    assert batch.data.shape == (3, 2, 16, 12)
    assert batch.image().shape == (3, 1, 16, 12)
    with pytest.raises(ValueError, match="shapes"):
        collate([dataset[0], dataset[2]])


def test_prepared_items_are_kept_up_to_a_budget():
    source = knees()
    one_item = 2 * 3 * 32 * 32 * 8 + 32
    dataset = measurements(source, undersampling(), cache_bytes=2 * one_item)
    items = [dataset[index] for index in range(3)]
    assert dataset[0] is items[0]
    assert dataset[1] is items[1]
    assert dataset[2] is not items[2]
    assert same(dataset[2], items[2])
    assert dataset[-3] is items[0]
    with pytest.raises(IndexError):
        dataset[3]


def test_what_travels_to_a_worker_is_light():
    dataset = measurements(knees(), undersampling())
    before = len(pickle.dumps(dataset))
    kept = dataset[0]
    sent = pickle.dumps(dataset)
    assert len(sent) < before + 100
    assert same(pickle.loads(sent)[0], kept)


def test_the_global_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measurements(knees(), undersampling(sigma=0.1), calibration=plain(kind="espirit"))[0]
    assert torch.equal(torch.get_rng_state(), before)
