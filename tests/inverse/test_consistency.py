"""The residual by parts of k-space, and the cause that is named where an image does not explain the measurement."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.calibration.calibrate import calibrate
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.scan import Scan
from rsd_med.inverse.causes import likely_cause
from rsd_med.inverse.consistency import CENTRE, LIMIT, WHOLE, consistency
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.noise import complex_or_real_noise
from tests.inverse.scenes import columns, disc, measure, smooth_maps

SIZE = 64
MASK = columns(*range(24, 40), *range(0, 24, 3), *range(41, 64, 3), size=SIZE)
REPORT = {"maps": {"kind": "espirit"}, "sampling": {"acs": 16}}


def scan(sigma=0.05, seed=0, mask=MASK):
    return measure(disc(SIZE), mask, smooth_maps(4, SIZE), sigma, seed=seed)


def smooth_error(strength):
    """An image of the four lowest frequencies alone."""
    kspace = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.complex64)
    kspace[..., SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2] = 1
    image = ifft2c(kspace)
    return strength * image / image.norm() * disc(SIZE).norm()


def test_the_truth_explains_every_part():
    for seed in range(8):
        judged = consistency(disc(SIZE)[0], scan(seed=seed))
        assert judged.explains
        assert len(judged.parts) == 6
        for part in judged.parts:
            assert part.noise_ratio == pytest.approx(1, abs=0.15), part.part


def test_what_is_missing_near_the_centre_is_not_hidden_by_the_noise_of_the_rest():
    judged = consistency((disc(SIZE) + smooth_error(0.15))[0], scan(0.1))
    assert judged.noise_ratio < LIMIT  # one number for all would pass it
    assert judged.worst.part == CENTRE
    assert not judged.explains
    assert CENTRE in judged.sentence()


def test_without_a_noise_level_only_the_whole_and_the_centre_are_judged():
    judged = consistency(disc(SIZE)[0], replace(scan(), sigma=torch.zeros(1)))
    assert [part.part for part in judged.parts] == [WHOLE, CENTRE]


def test_the_parts_are_told_apart_by_their_frequency():
    """An error of one frequency, 0.4 of the highest: the middle ring alone is left over."""
    wave = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.complex64)
    wave[..., SIZE // 2 + round(0.4 * SIZE / 2), SIZE // 2] = 4
    one = torch.ones(1, SIZE, SIZE, dtype=torch.complex64)
    full = measure(disc(SIZE), columns(*range(SIZE), size=SIZE), one, 0.05)
    judged = consistency((disc(SIZE) + ifft2c(wave))[0], full)
    assert [part.part for part in judged.parts if part.excess > 1] == ["the middle ring"]


# --- causes ---------------------------------------------------------------------------------------------------------


@cache
def wrapped():
    """A disc larger than the field of view: its left and right parts fall onto each other, each seen by other coils."""
    images = smooth_maps(6, 96) * disc(96)
    narrow = images[..., 24:72].clone()
    narrow[..., 24:] += images[..., :24]
    narrow[..., :24] += images[..., 72:]
    clean = fft2c(narrow)[0]
    noise = complex_or_real_noise(clean, 0.01, generator_for(0, "noise"))
    settings = CalibrationSettings(noise="none", whiten=False, maps=CoilMapSettings(cache=False, sets=1))
    calibrated = calibrate(Scan("wrapped", clean + noise, torch.ones(48, dtype=torch.bool)), settings)
    return replace(calibrated.measurement("wrapped"), sigma=torch.full((1,), 0.01 / calibrated.scale))


def unmeasured_columns():
    """Two columns that count as measured and were not."""
    measurement = scan()
    data = measurement.data.clone()
    data[..., [21, 44]] = 0
    return replace(measurement, data=data)


@pytest.mark.parametrize(
    ("measurement", "learned", "report", "words"),
    [
        (unmeasured_columns, False, REPORT, "2 of the 32 lines"),
        (scan, True, REPORT, "prior"),
        (scan, False, REPORT, "smooths too much"),
        (wrapped, True, REPORT, "larger than the field of view"),
        (wrapped, False, {"maps": {"kind": "espirit"}, "sampling": {"acs": 8}}, "only 8 central lines"),
        (wrapped, False, {"maps": {"kind": "file"}, "sampling": {"acs": 8}}, "coil maps of the file"),
        (lambda: replace(scan(mask=columns(*range(64), size=SIZE)), sigma=torch.full((1,), 0.02)), 0, REPORT, "noise"),
    ],
)
def test_the_likeliest_cause(measurement, learned, report, words):
    assert words in likely_cause(measurement(), report, learned=bool(learned))
