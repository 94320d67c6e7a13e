"""Several passes, echoes, b-values and phases of a series, and slices that are missing or do not belong."""

import logging

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from rsd_med.data.dicom import DicomSettings

from .dicom_files import enhanced, image, save


def build(path, **settings):
    return DicomSettings(root=str(path), **settings).build()


def write(folder, slices):
    """Write slices (height, fields); the position may be given whole, and the level is the number of the slice."""
    for number, (height, fields) in enumerate(slices):
        position = (0, 0, height) if np.isscalar(height) else height
        values = np.full((6, 5), 100 * (number + 1), np.uint16)
        values[0, 0] = 0
        save(folder / f"{number:03d}", image(values, position=position, instance=number, **fields))


def heights(source):
    """The heights of the slices of each volume."""
    return [[float(source[number].geometry.affine[2, 3]) for number in stack] for stack in source.stacks()]


@pytest.mark.parametrize(
    "label",
    [
        lambda turn: {"AcquisitionNumber": turn + 1},
        lambda turn: {"TemporalPositionIdentifier": turn + 1},
        lambda turn: {"TriggerTime": 40.0 * turn},
        lambda turn: {"DiffusionBValue": 1000.0 * turn},
        lambda turn: {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": [[1, 0, 0], [0, 0.6, 0.8]][turn]},
        lambda turn: {"EchoTime": 2.46 * (turn + 1)},
        lambda turn: {"EchoNumbers": turn + 1},
        lambda turn: {"ImageType": ["ORIGINAL", "PRIMARY", "MP"[turn]]},
    ],
    ids=["acquisition", "time", "trigger", "b", "gradient", "echo_time", "echo", "part"],
)
@pytest.mark.parametrize("first", [1, 3, 6], ids=["overlap", "half", "apart"])
def test_passes_are_told_apart_by_what_the_header_says(tmp_path, caplog, label, first):
    slices = [(3.0 * (cut + first * turn), label(turn)) for turn in range(2) for cut in range(6)]
    write(tmp_path, [slices[place] for place in np.random.default_rng(0).permutation(12)])
    found = heights(build(tmp_path))
    ways = {"AcquisitionNumber", "TriggerTime", "DiffusionGradientOrientation"} & set(label(0))
    if first == 6 and ways:  # nothing tells them from one acquisition in two parts
        assert found == [[3.0 * cut for cut in range(12)]]
    else:
        assert sorted(found) == [[3.0 * (cut + first * turn) for cut in range(6)] for turn in range(2)]
    assert not caplog.records


def test_passes_that_nothing_names_are_told_apart_by_their_order_and_that_is_said(tmp_path, caplog):
    write(tmp_path, [(3.0 * (cut + 3 * turn), {}) for turn in range(2) for cut in range(6)])
    assert heights(build(tmp_path)) == [[3.0 * (cut + 3 * turn) for cut in range(6)] for turn in range(2)]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "by the order of acquisition" in caplog.text


def test_interleaved_slices_of_passes_that_nothing_names_may_be_mixed_and_that_is_said(tmp_path, caplog):
    write(tmp_path, [(height, {}) for height in (0.0, 0.0, 3.0, 6.0, 6.0)])
    build(tmp_path)
    assert "may be mixed" in caplog.text


def test_a_dynamic_series_that_was_stopped_lacks_slices_of_its_last_volume_alone(tmp_path):
    write(tmp_path, [(3.0 * (number % 4), {"AcquisitionNumber": number // 4}) for number in range(10)])
    assert [len(stack) for stack in build(tmp_path).stacks()] == [4, 4, 2]


@pytest.mark.parametrize(
    ("counter", "repeats"),
    [(name, repeats) for name in ("AcquisitionNumber", "TriggerTime") for repeats in (1, 2)],
)
def test_what_counts_slices_makes_no_volumes(tmp_path, counter, repeats):
    write(tmp_path, [(3.0 * (number % 4), {counter: 10 * number}) for number in range(4 * repeats)])
    assert heights(build(tmp_path)) == [[0.0, 3.0, 6.0, 9.0]] * repeats


def test_two_acquisitions_of_every_second_slice_are_one_volume(tmp_path):
    write(
        tmp_path,
        [(height, {"AcquisitionNumber": 1 + turn}) for turn in (0, 1) for height in (3.0 * turn, 6.0 + 3 * turn)],
    )
    assert heights(build(tmp_path)) == [[0.0, 3.0, 6.0, 9.0]]


def test_two_acquisitions_shifted_by_a_movement_are_two_volumes(tmp_path):
    write(tmp_path, [(3.0 * cut + 0.4 * turn, {"AcquisitionNumber": turn}) for turn in range(2) for cut in range(5)])
    assert [len(stack) for stack in build(tmp_path).stacks()] == [5, 5]


def test_stations_side_by_side_are_volumes_of_their_own(tmp_path):
    write(tmp_path, [((0, 250.0 * station, 3.0 * cut), {}) for cut in range(3) for station in range(2)])
    source = build(tmp_path)
    corners = [[float(source[number].geometry.affine[1, 3]) for number in stack] for stack in source.stacks()]
    assert sorted(corners) == [[-250.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("places", [(0, 3, 6, 12, 15), (0, 3, 6, 9, 12, 60), (0, 1, 3), (0, 6, 9)])
def test_the_distance_of_slices_that_are_not_even_is_unknown_and_that_is_said_once(tmp_path, caplog, places):
    write(tmp_path, [(float(height), {}) for height in places])
    source = build(tmp_path)
    assert all(picture.geometry.spacing_mm == (0.5, 0.8) for picture in source)
    assert heights(source) == [list(map(float, places))]
    assert caplog.text.count("do not lie at equal distances") == 1


def test_a_survey_slice_of_another_pixel_size_is_a_series_of_its_own(tmp_path, caplog):
    write(tmp_path, [*((3.0 * cut, {}) for cut in range(4)), ((-100, -100, 60.0), {"PixelSpacing": [2.5, 2.5]})])
    source = build(tmp_path)
    assert [source.id(number) for number in (3, 4)] == ["series01_slice003", "series02_slice000"]
    assert source[0].geometry.spacing_mm == (0.5, 0.8, 3.0)
    assert not caplog.records


def test_a_slice_alone_is_as_thick_as_declared_or_nobody_knows(tmp_path):
    save(tmp_path / "a", image())
    assert build(tmp_path)[0].geometry.spacing_mm == (0.5, 0.8, 3.0)
    save(tmp_path / "a", image(SliceThickness=None))
    assert build(tmp_path)[0].geometry.spacing_mm == (0.5, 0.8)
    assert build(tmp_path)[0].geometry.affine is not None


# --- enhanced files -------------------------------------------------------------------------------------------------


def direction(vector):
    item = Dataset()
    item.DiffusionGradientOrientation = vector
    return Sequence([item])


@pytest.mark.parametrize(
    "label",
    [
        lambda turn: {"FrameContent": {"TemporalPositionIndex": turn + 1}},
        lambda turn: {"FrameContent": {"FrameAcquisitionNumber": turn + 1}},
        lambda turn: {"FrameContent": {"StackID": str(turn + 1)}},
        lambda turn: {"MREcho": {"EffectiveEchoTime": 5.0 * (turn + 1)}},
        lambda turn: {"MRDiffusion": {"DiffusionBValue": 800.0 * turn}},
        lambda turn: {"MRDiffusion": {"DiffusionGradientDirectionSequence": direction([[1, 0, 0], [0, 1, 0]][turn])}},
        lambda turn: {"CardiacSynchronization": {"NominalCardiacTriggerDelayTime": 30.0 * turn}},
        lambda turn: {"MRImageFrameType": {"ComplexImageComponent": ["MAGNITUDE", "PHASE"][turn]}},
        lambda turn: {
            "PlaneOrientation": {"ImageOrientationPatient": [[1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0.8, 0.6]][turn]}
        },
    ],
    ids=["time", "acquisition", "stack", "echo", "b", "gradient", "trigger", "part", "plane"],
)
@pytest.mark.parametrize("undefined", [False, True])
def test_the_frames_of_one_file_are_told_apart_by_their_functional_groups(tmp_path, label, undefined):
    values = (np.arange(10)[:, None, None] * 10 + np.arange(30).reshape(6, 5)).astype(np.uint16)
    places = [{"PlanePosition": {"ImagePositionPatient": [0, 0, 3.0 * (n // 2)]}} for n in range(10)]
    frames = [place | label(number % 2) for number, place in enumerate(places)]
    save(tmp_path / "a", enhanced(values, frames, undefined))
    source = build(tmp_path, percentiles=(0, 100))
    assert source.stacks() == (range(5), range(5, 10))
    for turn, stack in enumerate(source.stacks()):
        volume = np.stack([source[number].image[0] for number in stack])
        expected = values[turn::2].astype(float)
        expected = (expected - expected.min()) / (expected.max() - expected.min()) * 2 - 1
        assert np.allclose(volume, expected, atol=1e-5)


def test_each_frame_has_its_own_slope(tmp_path):
    values = np.full((2, 6, 5), 100, np.uint16)
    values[:, 0, 0] = 0
    frames = [
        {
            "PlanePosition": {"ImagePositionPatient": [0, 0, float(n)]},
            "PixelValueTransformation": {"RescaleSlope": 1.0 + n, "RescaleIntercept": 0.0},
        }
        for n in range(2)
    ]
    save(tmp_path / "a", enhanced(values, frames))
    first, second = build(tmp_path, percentiles=(0, 100))
    assert float(first.image[0, 1, 1]) == pytest.approx(0)
    assert float(second.image[0, 1, 1]) == pytest.approx(1)
