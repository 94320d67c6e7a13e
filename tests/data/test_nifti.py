import gzip
import pickle
import tracemalloc

import nibabel
import numpy as np
import pydantic
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.data import nifti_file
from rsd_med.data.intensity import Intensities
from rsd_med.data.nifti import NiftiSettings
from rsd_med.data.scan import UNKNOWN
from rsd_med.data.writing.nifti import write_nifti

AFFINE = np.array([[-1.5, 0.1, 0.0, 90], [0.2, 1.4, 0.3, -60], [0.0, -0.4, 3.0, 12], [0, 0, 0, 1]])


def build(path, **settings):
    return NiftiSettings(root=str(path), **settings).build()


def volume(*shape, seed=0):
    return np.random.default_rng(seed).gamma(2.0, 100.0, shape).astype(np.float32)


def save(path, data, affine=AFFINE, kind=nibabel.Nifti1Image):
    image = kind(data, affine)
    nibabel.save(image, path)
    return path


def patched(path, **fields):
    """Change fields of an uncompressed file's header, whatever nibabel thinks of it."""
    raw = bytearray(path.read_bytes())
    header = nibabel.Nifti1Header(bytes(raw[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    raw[:348] = header.binaryblock
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_slices_are_scaled_and_never_turned(tmp_path, suffix, kind):
    data = volume(6, 7, 5)
    source = build(save(tmp_path / f"head.{suffix}", data, kind=kind))
    assert len(source) == 5
    picture = source[3]
    assert picture.id == source.id(3) == "head_slice003"
    assert picture.image.dtype == torch.float32
    assert picture.image.shape == source.shape(3) == (1, 6, 7)
    low, high = np.percentile(data, (0, 99.5))
    assert np.allclose(picture.image[0], np.clip((data[:, :, 3] - low) / (high - low), 0, 1) * 2 - 1, atol=1e-5)
    everything = torch.stack([source[index].image for index in range(5)])
    assert everything.min() == -1
    assert everything.max() == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis_keeps_its_geometry(tmp_path, axis):
    data = volume(6, 7, 5)
    source = build(save(tmp_path / "head.nii", data), axis=axis)
    order = [other for other in range(3) if other != axis] + [axis]
    assert len(source) == data.shape[axis]
    assert source.shape(0) == (1, data.shape[order[0]], data.shape[order[1]])
    for cut in (0, 2):
        picture = source[cut]
        voxel = np.zeros(3)
        voxel[order[0]], voxel[order[1]], voxel[axis] = 4, 1, cut
        assert np.allclose(picture.geometry.affine @ [4, 1, 0, 1], AFFINE @ [*voxel, 1], atol=1e-4)
        assert np.allclose(picture.geometry.spacing_mm, np.linalg.norm(AFFINE[:3, :3], axis=0)[order], atol=1e-4)


def test_a_slice_written_back_lies_where_it_lay(tmp_path):
    original = nibabel.load(save(tmp_path / "head.nii", volume(6, 7, 5)))
    picture = build(tmp_path / "head.nii")[2]
    written = nibabel.Nifti1Image(picture.image.numpy().transpose(1, 2, 0), picture.geometry.affine)
    assert np.allclose(written.affine, original.slicer[:, :, 2:3].affine, atol=1e-4)


@pytest.mark.parametrize("settings", [{"resize": 8}, {"pad": 12}, {"resize": 4, "pad": 6}, {"pad": 4}])
def test_fitting_keeps_the_middle_where_it_is(tmp_path, settings):
    source = build(save(tmp_path / "head.nii", volume(8, 8, 3)), **settings)
    picture = source[1]
    side = settings.get("pad") or settings["resize"]
    assert picture.image.shape == source.shape(1) == (1, side, side)
    # Both sizes are even: the corner between the four middle pixels stays the same place in the patient.
    middle = (side - 1) / 2
    assert np.allclose(picture.geometry.affine @ [middle, middle, 0, 1], AFFINE @ [3.5, 3.5, 1, 1], atol=1e-4)
    assert picture.geometry.spacing_mm[0] == pytest.approx(
        np.linalg.norm(AFFINE[:3, 0]) * 8 / settings.get("resize", 8), rel=1e-4
    )


def test_slices_that_are_not_square_are_padded_not_cut(tmp_path):
    data = np.zeros((10, 4, 1), dtype=np.float32)
    data[0] = data[-1] = 1
    image = build(save(tmp_path / "head.nii", data), resize=10)[0].image
    assert (image[0, 0, 3:7] == 1).all()
    assert (image[0, -1, 3:7] == 1).all()
    assert (image[0, :, :3] == -1).all()


def test_central_slices_of_a_folder(tmp_path):
    (tmp_path / "b").mkdir()
    save(tmp_path / "b" / "two.nii.gz", volume(4, 4, 9))
    save(tmp_path / "one.nii", volume(4, 4, 2))
    save(tmp_path / ".hidden.nii", volume(4, 4, 2))
    (tmp_path / "notes.txt").touch()
    source = build(tmp_path, slices=3)
    ids = [source.id(index) for index in range(len(source))]
    assert ids == ["b/two_slice003", "b/two_slice004", "b/two_slice005", "one_slice000", "one_slice001"]
    assert [picture.id for picture in source] == ids
    assert len(build(tmp_path, include="one*")) == 2
    with pytest.raises(IndexError):
        source[5]


def test_four_dimensions_need_a_choice_of_volume(tmp_path):
    data = volume(4, 5, 3, 2)
    path = save(tmp_path / "series.nii.gz", data)
    low, high = np.percentile(data[..., 1], (0, 99.5))
    wanted = np.clip((data[:, :, 0, 1] - low) / (high - low), 0, 1) * 2 - 1
    assert np.allclose(build(path, volume=1)[0].image[0], wanted, atol=1e-5)
    with pytest.raises(DataError, match=r"series\.nii\.gz holds 2 volumes, and number 2"):
        build(path, volume=2)
    with pytest.raises(DataError, match="holds 1 volumes, and number 1"):
        build(save(tmp_path / "single.nii", volume(4, 4, 3)), volume=1)


def test_single_slices_and_trailing_axes(tmp_path):
    assert len(build(save(tmp_path / "flat.nii", volume(4, 5)))) == 1
    long = build(save(tmp_path / "long.nii", volume(4, 5, 3, 1, 1)))
    assert long[2].image.shape == (1, 4, 5)


def test_complex_volumes_give_complex_pictures(tmp_path):
    data = (volume(6, 7, 5) * np.exp(1j * volume(6, 7, 5, seed=1))).astype(np.complex64)
    picture = build(save(tmp_path / "head.nii", data), pad=8)[2]
    assert picture.image.dtype == torch.complex64
    assert picture.image.shape == (1, 8, 8)
    scale = np.percentile(np.abs(data), 99.5)
    assert np.allclose(picture.image[0, 1:7, 1:8].numpy(), data[:, :, 2] / scale, atol=1e-5)
    save(tmp_path / "real.nii", volume(6, 7, 5))
    with pytest.raises(DataError, match=r"head\.nii is complex and real\.nii is real"):
        build(tmp_path)


def test_the_intensity_scale_of_the_header_is_applied(tmp_path):
    data = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    plain = build(save(tmp_path / "a.nii", data))[1].image
    path = patched(save(tmp_path / "b.nii", data), scl_slope=-2.0, scl_inter=500.0)
    assert torch.allclose(
        build(path, percentiles=(0, 100))[1].image, -build(tmp_path / "a.nii", percentiles=(0, 100))[1].image
    )
    assert not torch.equal(plain, build(path)[1].image)


def test_big_endian_files_are_read(tmp_path):
    data = volume(4, 5, 3)
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, AFFINE, header), tmp_path / "big.nii")
    save(tmp_path / "little.nii", data)
    assert torch.equal(build(tmp_path / "big.nii")[1].image, build(tmp_path / "little.nii")[1].image)


def test_a_copy_for_another_process_carries_no_voxels(tmp_path):
    source = build(save(tmp_path / "head.nii", volume(64, 64, 8)))
    first = source[4]
    packed = pickle.dumps(source)
    assert len(packed) < 10_000
    assert torch.equal(pickle.loads(packed)[4].image, first.image)


def test_nothing_that_names_the_patient_is_kept(tmp_path):
    image = nibabel.Nifti1Image(volume(4, 5, 3), AFFINE)
    image.header["descrip"] = b"DOE JANE 1950"
    image.header["aux_file"] = b"DOE JANE"
    image.header["db_name"] = b"DOE JANE"
    image.header["intent_name"] = b"DOE JANE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE JANE"))
    nibabel.save(image, tmp_path / "head.nii.gz")
    source = build(tmp_path / "head.nii.gz")
    assert torch.equal(source[1].image, build(save(tmp_path / "clean.nii", volume(4, 5, 3)))[1].image)
    assert b"JANE" not in pickle.dumps(source) + pickle.dumps(source[1])


def test_all_volumes_of_a_file_are_taken_one_after_the_other(tmp_path):
    data = volume(4, 5, 3, 2)
    source = build(save(tmp_path / "series.nii.gz", data), volume="all", percentiles=(0, 100))
    assert [source.id(index) for index in (0, 3, 5)] == [
        "series_volume000_slice000",
        "series_volume001_slice000",
        "series_volume001_slice002",
    ]
    assert source.stacks() == (range(3), range(3, 6))
    low, high = data[..., 1].min(), data[..., 1].max()
    assert np.allclose(source[4].image[0], (data[:, :, 1, 1] - low) / (high - low) * 2 - 1, atol=1e-5)
    save(tmp_path / "single.nii", data[..., 0])
    assert build(tmp_path, volume="all").stacks() == (range(3), range(3, 6), range(6, 9))
    assert build(tmp_path / "single.nii", volume="all").id(2) == "single_slice002"


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spooled", [0, 1 << 20])
def test_packed_files_read_as_unpacked_ones(tmp_path, monkeypatch, axis, spooled):
    monkeypatch.setattr(nifti_file, "SPOOLED", spooled)
    monkeypatch.setattr(nifti_file, "MOST_UNPACKED", 1)
    data = volume(6, 7, 5)
    for name in ("a", "b"):
        save(tmp_path / f"{name}.nii.gz", data)
    packed = build(tmp_path, axis=axis, include="*.gz")
    direct = build(save(tmp_path / "c.nii", data), axis=axis)
    count = data.shape[axis]
    for index in (count - 1, 0, 2):
        for other in (index, index + count):  # to and fro between the files: one is unpacked at a time
            assert torch.equal(packed[other].image, direct[index].image)


def test_memory_does_not_grow_with_the_slices(tmp_path, monkeypatch):
    def peak(slices):
        path = tmp_path / f"{slices}.nii"
        data = np.random.default_rng(0).integers(0, 1000, (slices, 128, 128), dtype=np.int16)
        nibabel.save(nibabel.Nifti1Image(data.transpose(), AFFINE), path)
        source = build(path)
        del data
        tracemalloc.start()
        for picture in source:
            assert picture.image.shape == (1, 128, 128)
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    monkeypatch.setattr("rsd_med.data.intensity.EXACT", 1 << 16)
    peak(2)  # what is imported on the way
    assert peak(300) < peak(30) + 2**20  # 300 slices are 10 MB in the file and 20 MB as float32


def test_percentiles_of_a_large_volume_come_from_a_part_of_it(monkeypatch):
    values = np.random.default_rng(0).gamma(2.0, 100.0, (64, 48, 40)).astype(np.float32)
    monkeypatch.setattr("rsd_med.data.intensity.EXACT", 20_000)
    seen = Intensities(values.shape)
    for cut in range(40):
        seen.add(values[:, :, cut])
    low, high = seen.percentiles(1, 99)
    assert len(seen._sample) <= 20_000
    assert seen._kept == len(seen._sample)
    exact = np.percentile(values, (1, 99))
    assert np.allclose((low, high), exact, rtol=0.05)
    assert seen.percentiles(0, 100) == (values.min(), values.max())


def test_real_files_of_every_sort(shared_data):
    folder = shared_data / "nifti_dicom"
    series = build(folder / "pcasl_4d.nii.gz", volume="all")
    assert len(series) == 200
    assert len(series.stacks()) == 10
    assert series[199].image.shape == (1, 52, 68)
    head = build(folder / "complex64_volume.nii.gz")[22]
    assert head.image.dtype == torch.complex64
    assert head.image.abs().max() > 0.1
    assert build(folder / "FLAIR_brain.nii.gz", axis=0)[60].image.shape == (1, 160, 140)


# --- malformed files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"dim": [3, -4, 5, 3, 1, 1, 1, 1]}, "impossible shape"),
        ({"dim": [3, 0, 5, 3, 1, 1, 1, 1]}, "impossible shape"),
        ({"dim": [3, 32767, 32767, 32767, 1, 1, 1, 1]}, "impossible shape"),
        ({"dim": [3, 4000, 4000, 4000, 1, 1, 1, 1]}, "more than is read"),
        ({"dim": [-3, 4, 5, 3, 1, 1, 1, 1]}, "dimensions|contradicts"),
        ({"dim": [9, 4, 5, 3, 1, 1, 1, 1]}, "dimensions|contradicts"),
        ({"dim": [1, 60, 1, 1, 1, 1, 1, 1]}, "two to four dimensions"),
        ({"dim": [5, 4, 5, 3, 2, 2, 1, 1]}, "two to four dimensions"),
        ({"datatype": 128}, "not numbers"),
        ({"datatype": 9999}, "contradicts itself"),
        ({"vox_offset": 1e12}, "where the voxels begin"),
        ({"vox_offset": 0}, "where the voxels begin"),
        ({"vox_offset": np.nan}, "where the voxels begin"),
        ({"scl_slope": np.inf}, "intensity scale"),
        ({"scl_slope": 2.0, "scl_inter": np.nan}, "intensity scale"),
        ({"magic": b"ni1"}, "no single NIfTI file"),
        ({"magic": b"zzz"}, "no single NIfTI file"),
    ],
)
def test_impossible_headers_are_refused_before_any_voxel_is_read(tmp_path, fields, sentence):
    path = patched(save(tmp_path / "head.nii", volume(4, 5, 3)), **fields)
    with pytest.raises(DataError, match=sentence) as caught:
        build(path)
    assert "head.nii" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_an_unusable_affine_means_orientation_unknown(tmp_path, bad):
    path = save(tmp_path / "head.nii", volume(4, 5, 3))
    patched(path, srow_x=[bad] * 4, qform_code=0, sform_code=1)
    picture = build(path)[1]
    assert picture.geometry.affine is None
    assert picture.geometry.spacing_mm is not None


def test_no_orientation_code_means_orientation_unknown(tmp_path):
    path = patched(save(tmp_path / "head.nii", volume(4, 5, 3)), qform_code=0, sform_code=0)
    assert build(path)[1].geometry.affine is None


@pytest.mark.parametrize("size", [0.0, np.nan, np.inf])
def test_impossible_voxel_sizes_are_unknown_without_an_affine(tmp_path, size):
    path = save(tmp_path / "head.nii", volume(4, 5, 3))
    patched(path, pixdim=[1, size, 1, 1, 1, 1, 1, 1], sform_code=0, qform_code=0)
    assert build(path)[1].geometry == UNKNOWN


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_counted_and_refused(tmp_path, bad):
    data = volume(4, 5, 3)
    data[0, 0, :2] = bad
    source = build(save(tmp_path / "head.nii", data))
    with pytest.raises(DataError, match=r"head\.nii has 2 voxels that are NaN or infinite"):
        source[2]


@pytest.mark.parametrize("value", [0, 7])
def test_constant_volumes_are_refused(tmp_path, value):
    source = build(save(tmp_path / "head.nii", np.full((4, 5, 3), value, dtype=np.float32)))
    with pytest.raises(DataError, match="is constant"):
        source[0]
    empty = build(save(tmp_path / "empty.nii", np.zeros((4, 5, 3), dtype=np.complex64)))
    with pytest.raises(DataError, match="is empty"):
        empty[0]


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
def test_short_data_are_refused(tmp_path, suffix):
    path = save(tmp_path / f"head.{suffix}", volume(20, 20, 10))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="shorter than its header says"):
        build(path)[0]


def test_values_too_large_for_single_precision_are_refused(tmp_path):
    source = build(save(tmp_path / "head.nii", np.full((4, 5, 3), 1e300)))
    with pytest.raises(DataError, match="60 voxels that are NaN or infinite"):
        source[0]


def test_damaged_gzip_is_refused(tmp_path):
    path = save(tmp_path / "head.nii.gz", volume(20, 20, 10))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(DataError, match="damaged"):
        build(path)[0]


@pytest.mark.parametrize("name", ["head.nii", "head.nii.gz"])
@pytest.mark.parametrize("content", [b"", b"no volume", bytes(400), b"\x5c\x01\x00\x00short"])
def test_files_that_are_no_nifti_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=r"is no NIfTI file|cannot be read"):
        build(tmp_path / name)


def test_a_bomb_is_refused_by_its_header(tmp_path, monkeypatch):
    monkeypatch.setattr(nifti_file, "MAX_VOXELS", 1000)
    path = save(tmp_path / "bomb.nii.gz", np.zeros((64, 64, 64), dtype=np.uint8))
    with pytest.raises(DataError, match="declares 262144 voxels"):
        build(path)


def test_what_follows_the_voxels_is_not_unpacked(tmp_path):
    path = save(tmp_path / "head.nii", volume(4, 5, 3))
    tail = gzip.compress(path.read_bytes() + bytes(50_000_000))
    (tmp_path / "bomb.nii.gz").write_bytes(tail)
    assert torch.equal(build(tmp_path / "bomb.nii.gz")[1].image, build(path)[1].image)


def test_missing_files_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.nii does not exist"):
        build(tmp_path / "nothing.nii")
    with pytest.raises(DataError, match="holds no"):
        build(tmp_path)
    (tmp_path / "scan.dcm").touch()
    with pytest.raises(DataError, match="is no NIfTI file"):
        build(tmp_path / "scan.dcm")


@pytest.mark.parametrize("bad", [(50, 50), (-1, 99), (0, 101), (99, 1)])
def test_percentiles_have_to_rise(bad):
    with pytest.raises(pydantic.ValidationError, match="rising"):
        NiftiSettings(root="x", percentiles=bad)


# --- real files --------------------------------------------------------------------------------------------------


def test_real_volumes(shared_data):
    source = build(shared_data / "nifti_dicom", include="ms_patient20_*.nii.gz", slices=4, resize=64)
    assert len(source) == 8
    original = nibabel.load(shared_data / "nifti_dicom" / "ms_patient20_FLAIR.nii.gz")
    picture = source[0]
    assert picture.image.shape == (1, 64, 64)
    assert np.allclose(picture.geometry.affine @ [31.5, 31.5, 0, 1], original.affine @ [127.5, 127.5, 20, 1], atol=1e-3)
    assert nibabel.aff2axcodes(picture.geometry.affine) == nibabel.aff2axcodes(original.affine)


def test_one_head_in_two_orientations_lies_in_one_place(shared_data):
    """The files differ in the order of their axes; the affines of the slices make up for it."""
    where = []
    for name in ("orient_LPS.nii.gz", "orient_RAS.nii.gz"):
        source = build(shared_data / "nifti_dicom" / name)
        best = max(range(0, len(source), 6), key=lambda index, source=source: source[index].image.mean().item())
        picture = source[best]
        weight = picture.image[0].numpy() + 1
        y, x = np.indices(weight.shape)
        centre = [(weight * y).sum() / weight.sum(), (weight * x).sum() / weight.sum(), 0, 1]
        where.append(picture.geometry.affine @ centre)
    assert np.allclose(where[0][:2], where[1][:2], atol=1.0)


def test_real_complex_and_four_dimensional_volumes(shared_data):
    folder = shared_data / "nifti_dicom"
    complex_picture = build(folder / "complex64_volume.nii.gz", slices=1)[0]
    assert complex_picture.image.dtype == torch.complex64
    assert complex_picture.image.imag.abs().max() > 0.1
    assert not torch.equal(
        build(folder / "pcasl_4d.nii.gz", volume=0)[10].image, build(folder / "pcasl_4d.nii.gz", volume=9)[10].image
    )


def test_files_that_cannot_hold_what_they_declare_are_refused_at_once(tmp_path, monkeypatch):
    path = patched(save(tmp_path / "head.nii", volume(4, 5, 3)), dim=[3, 600, 600, 600, 1, 1, 1, 1])
    with pytest.raises(DataError, match="shorter than its header says"):
        build(path)
    (tmp_path / "head.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match="no packing makes so much so small"):
        build(tmp_path / "head.nii.gz")
    monkeypatch.setattr(nifti_file, "MAX_UNPACKED_BYTES", 100)
    with pytest.raises(DataError, match="more than is read"):
        build(save(tmp_path / "other.nii.gz", volume(4, 5, 3)))


def test_nothing_known_stays_unknown(tmp_path):
    write_nifti(tmp_path / "head.nii", volume(3, 4, 5))
    assert build(tmp_path / "head.nii")[1].geometry == UNKNOWN
