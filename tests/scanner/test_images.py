"""What comes back from the server is what the command writes, in the place that the lines came from."""

import json
import shutil
import struct

import ismrmrd
import nibabel
import numpy as np
import pytest
import torch

from rsd_med import reconstruct
from rsd_med.base.command import run_command
from rsd_med.data.ismrmrd import ISMRMRDSettings
from rsd_med.data.ismrmrd_header import parse_header
from rsd_med.data.ismrmrd_stream import ACQUISITION, ReceivedLines
from rsd_med.inverse.base import summarise
from rsd_med.inverse.scans import Undersampling, prepare
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.scanner.images import image_messages, slice_result
from rsd_med.scanner.wire import IMAGE, WAVEFORM
from tests.data.conftest import complex_noise
from tests.data.ismrmrd_files import line, lines_of, write, xml

from . import client
from .conftest import DIRECTIONS, oblique_lines


def written(path, out, *options) -> np.ndarray:
    """What the command writes, (volume, slice, readout, phase)."""
    assert run_command(lambda: reconstruct.main(["-", str(path), "--out", str(out), *options])) == 0
    files = sorted(out.rglob("mean.nii.gz"))
    return np.stack([np.moveaxis(np.asarray(nibabel.load(file).dataobj), 2, 0) for file in files])


def pixels(image: ismrmrd.Image) -> np.ndarray:
    """(readout, phase) of an image as it came."""
    assert image.data.shape[:2] == (1, 1)
    return image.data[0, 0].T


def test_of_a_real_file_the_client_receives_what_the_command_writes(shared_data, tmp_path, serve):
    scan = shutil.copy(shared_data / "mri_kspace_real" / "phantom_2ch_siemens_gre_ismrmrd.h5", tmp_path / "scan.h5")
    answer = client.ask(serve(), [client.config_file("l1_wavelet"), *client.measurement(scan)])
    assert (answer.closed, answer.errors, len(answer.images)) == (True, [], 1)
    wanted = written(scan, tmp_path / "out", "--method", "l1_wavelet")[0, 0]
    found = pixels(answer.images[0])
    assert np.abs(found - wanted).max() <= 1e-6 * wanted.max()
    assert np.abs(found[::-1] - wanted).max() > 0.1 * wanted.max()


def test_of_a_real_brain_with_missing_lines_the_client_receives_what_the_command_writes(shared_data, tmp_path, serve):
    import h5py

    with h5py.File(shared_data / "mri_kspace_real" / "brain_8ch_full.h5") as file:
        kspace = file["kspace"][:4, 51:179:2, 26:154:2] * np.complex64(1e-3)
    steps = [step for step in range(64) if step % 2 == 0 or 24 <= step < 40]
    scan = write(tmp_path / "scan.h5", xml((64, 64)), lines_of(kspace, steps))
    answer = client.ask(serve(), [client.config_file(""), *client.measurement(scan)])
    wanted = written(scan, tmp_path / "out", "--method", "cg_sense")[0, 0]
    assert np.abs(pixels(answer.images[0]) - wanted).max() <= 1e-6 * wanted.max()


def test_slices_and_repetitions_come_in_their_places(oblique, tmp_path, serve):
    answer = client.ask(serve(), [client.config_file("zero_filled"), *client.measurement(oblique)])
    wanted = written(oblique, tmp_path / "out", "--method", "zero_filled")
    assert answer.errors == []
    assert [(image.repetition, image.slice) for image in answer.images] == [(0, 1), (0, 0), (1, 1), (1, 0)]
    assert [image.image_index for image in answer.images] == [1, 2, 3, 4]
    files = sorted((tmp_path / "out").rglob("mean.nii.gz"))
    for number, image in enumerate(answer.images):
        volume, place = divmod(number, 2)
        assert np.abs(pixels(image) - wanted[volume, place]).max() <= 1e-6 * wanted.max()
        assert tuple(image.matrix_size) == (32, 24, 1)
        assert (image.image_type, image.channels, image.measurement_uid) == (ismrmrd.IMTYPE_MAGNITUDE, 1, 77)
        for name, value in DIRECTIONS.items():
            assert tuple(getattr(image, name)) == pytest.approx(value)
        # A pixel's place by the words of the format, against what the command wrote for other programs (RAS+).
        affine = nibabel.load(files[volume]).affine
        spacing = np.array(image.field_of_view[:2]) / image.matrix_size[:2]
        for i, j in ((0, 0), (31, 0), (5, 23)):
            step = (np.array([i, j]) - (16, 12)) * spacing
            lps = np.array(image.position) + step @ np.array([image.read_dir, image.phase_dir])
            assert (affine @ [i, j, place, 1])[:3] == pytest.approx(lps * (-1, -1, 1), abs=1e-3)
        first = next(n for n, one in enumerate(oblique_lines()) if n and one.idx.repetition == volume and
                     one.idx.slice == image.slice)  # fmt: skip
        assert image.acquisition_time_stamp == 1000 + first


def test_the_noise_scan_and_the_verdict_are_told(oblique, tmp_path, serve):
    """With the noise scan the verdict is the command's; without it the noise is another one's estimate."""
    answer = client.ask(serve(), [client.config_file("cg_sense"), client.remark("hello"), client.waveform(2, 30),
                                  *client.measurement(oblique)])  # fmt: skip
    written(oblique, tmp_path / "out", "--method", "cg_sense")
    figures = json.loads((tmp_path / "out" / "metrics.json").read_text())["volumes"]
    residuals = [residual for volume in figures for residual in volume["residual"]]
    assert figures[0]["calibration_of_first_slice"]["noise"]["source"] == "scan"
    for image, residual in zip(answer.images, residuals, strict=True):
        assert float(image.meta["rsd_med_noise_ratio"]) == pytest.approx(residual["noise_ratio"], rel=1e-4)
        assert image.meta["rsd_med_explains"] == str(residual["explains"]).lower()
        assert image.meta["rsd_med_method"] == "cg_sense"
        assert "computed, not for diagnosis" in image.meta["ImageComments"]
        assert [float(value) for value in image.meta["ImageRowDir"]] == pytest.approx(DIRECTIONS["read_dir"])
    assert len(answer.texts) == 4
    assert answer.texts[0].startswith("slice 1 of 4: the image ")
    assert f"the measurement: residual {residuals[0]['noise_ratio']:.2f} times the noise" in answer.texts[0]


def test_a_result_that_does_not_explain_the_measurement_says_so_on_its_face(small, tmp_path, serve):
    answer = client.ask(serve(options={"regularisation": 1e6}), client.measurement(small))
    image = answer.images[0]
    assert image.meta["rsd_med_explains"] == "false"
    assert image.meta["ImageComments"][0].startswith("DO NOT TRUST")
    written(small, tmp_path / "out", "--method", "cg_sense", "--set", "regularisation=1e6")
    cause = json.loads((tmp_path / "out" / "metrics.json").read_text())["volumes"][0]["likely_cause"]
    assert image.meta["ImageComments"][2].endswith(f"; {cause}")
    assert "NOT_EXPLAINED" in image.meta["SeriesDescriptionAdditional"]


def test_the_layout_of_headers_is_that_of_the_formats_own_package():
    for ours, theirs in ((ACQUISITION, ismrmrd.AcquisitionHeader), (IMAGE, ismrmrd.ImageHeader)):
        fields = {name: getattr(theirs, name) for name, *_ in theirs._fields_}
        assert ours.itemsize == len(bytes(theirs()))
        assert {name: ours.fields[name][1] for name in ours.names} == {
            name: place.offset for name, place in fields.items()
        }
        assert {name: ours[name].itemsize for name in ours.names} == {
            name: place.size for name, place in fields.items()
        }
    head = ismrmrd.WaveformHeader(version=1, flags=2, measurement_uid=3, scan_counter=4, time_stamp=5)
    head.number_of_samples, head.channels, head.sample_time_us, head.waveform_id = 6, 7, 8.0, 9
    assert WAVEFORM.unpack(bytes(head)) == (1, 2, 3, 4, 5, 6, 7, 8.0, 9)


def result_with_uncertainty(scan):
    """Three samples of a slice, as a method with an uncertainty gives them."""
    prepared = prepare(scan, Undersampling())
    zero = prepared.measurement.operator.H(prepared.measurement.data)
    samples = torch.cat([zero * (1 + 0.1 * number) for number in range(3)])
    made = summarise(samples, prepared.measurement, 1.0)
    head = np.zeros(1, ACQUISITION)[0]
    return (
        prepared,
        made,
        slice_result(1, head, parse_header(xml((32, 24)), "scan"), prepared, made, ZeroFilledSettings()),
    )


@pytest.mark.parametrize("whole", [False, True])
def test_uncertainty_is_a_series_of_its_own_and_whole_numbers_keep_to_the_window(small, whole):
    prepared, made, result = result_with_uncertainty(ISMRMRDSettings(root=str(small)).build()[0])
    messages = list(image_messages([result], ("mean", "std", "upper"), "method", whole_numbers=whole))
    assert [struct.unpack("<H", message[:2])[0] for message in messages] == [1022] * 3
    images = [ismrmrd.Image.from_bytes(message[2:]) for message in messages]
    assert [image.image_series_index for image in images] == [1, 2, 4]
    assert [image.meta["rsd_med_image"] for image in images] == ["mean", "std", "upper"]
    scale = float(prepared.measurement.scale[0])
    for image, wanted in zip(images, (made.mean, made.std, made.interval[1]), strict=True):
        values = prepared.shown(wanted)[0].numpy() * scale
        if not whole:
            assert image.data.dtype == np.float32
            assert np.allclose(pixels(image), values, rtol=1e-6)
            assert float(image.meta["rsd_med_white"]) == pytest.approx(1.25 * scale)
            continue
        assert image.data.dtype == np.int16
        unit = float(image.meta["rsd_med_units_per_pixel"])
        assert unit * 4095 == pytest.approx(1.25 * scale)
        assert np.abs(pixels(image) * unit - values).max() <= 0.5001 * unit
        assert (image.meta["WindowCenter"], image.meta["WindowWidth"]) == ("2048", "4096")
    assert np.ptp(pixels(images[0])) > 0


def spoke(angle: float) -> ismrmrd.Acquisition:
    radius = np.linspace(-0.5, 0.5, 32, dtype=np.float32)
    positions = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32)
    return ismrmrd.Acquisition.from_array(complex_noise(2, 32, seed=int(100 * angle)), positions)


def kinds_of_lines():
    kspace = complex_noise(2, 16, 12)
    calibration = [line(kspace[:, :, step], step, [ismrmrd.ACQ_IS_PARALLEL_CALIBRATION]) for step in range(4, 8)]
    yield "separate", xml(mode="separate"), [*lines_of(kspace, range(0, 12, 2)), *calibration]
    yield "oversampled", xml(recon=8), lines_of(kspace)
    turned = {"center_sample": 7, "discard_post": 1}
    backwards = [line(kspace[:, ::-1, step], step, [ismrmrd.ACQ_IS_REVERSE], **turned) for step in range(12)]
    yield "backwards", xml(), backwards
    yield "radial", xml((16, 16), trajectory="radial"), [spoke(angle) for angle in (0.0, 0.8, 1.6, 2.4)]


@pytest.mark.parametrize(("header", "lines"), [pytest.param(*rest, id=name) for name, *rest in kinds_of_lines()])
def test_lines_that_are_sent_make_the_same_scan_as_lines_of_a_file(tmp_path, header, lines):
    wanted = ISMRMRDSettings(root=str(write(tmp_path / "scan.h5", header, lines))).build()
    received = ReceivedLines("scan", parse_header(header, "scan"))
    for one in lines:
        content = one.to_bytes()
        positions, samples = received.sizes(content[:340])
        assert len(content) == 340 + positions + samples
        received.add(content[:340], content[340 : 340 + positions], content[340 + positions :])
    source = received.source()
    assert (len(source), source.stacks(), source.shape(0)) == (len(wanted), wanted.stacks(), wanted.shape(0))
    ours, theirs = source[0], wanted[0]
    for name in ("id", "acs_lines", "image_size", "reconstructed"):
        assert getattr(ours, name) == getattr(theirs, name)
    for name in ("kspace", "acquired", "calibration", "noise", "readout", "trajectory"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one is other is None or torch.equal(one, other), name
    assert (ours.trajectory is not None) == (b"radial" in header)
    assert (ours.calibration is not None) == (b"separate" in header)
