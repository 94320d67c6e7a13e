"""Grey levels against whole-number arithmetic; the viewer's script is held against them in tests/apps."""

import numpy as np
import pytest
import torch

from rsd_med.data.windowing import grey_levels


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("low", "high"), [(0, 510), (0, 255), (-1024, 3071), (1000, 66535), (7, 8)])
def test_every_16_bit_value_is_rounded_half_up(bits, low, high):
    values = np.arange(-2048, 65536)
    white, width = 2**bits - 1, high - low
    exact = (2 * white * (values - low) + width) // (2 * width)  # floor(white (v - low) / width + 1/2)
    levels = grey_levels(values, (low, high), bits)
    assert levels.dtype == (np.uint8 if bits == 8 else np.uint16)
    np.testing.assert_array_equal(levels, exact.clip(0, white))
    np.testing.assert_array_equal(grey_levels(values, (low, high), bits, invert=True), white - exact.clip(0, white))


def test_what_is_no_number_is_level_0_and_of_complex_numbers_the_magnitude_is_taken():
    values = np.array([np.nan, np.inf, -np.inf])
    assert grey_levels(values, (0.0, 1.0)).tolist() == [0, 255, 0]
    assert grey_levels(values, (0.0, 1.0), invert=True).tolist() == [0, 0, 255]
    assert grey_levels(torch.tensor([3 + 4j], requires_grad=True), (0.0, 10.0)).tolist() == [128]


@pytest.mark.parametrize("window", [(1.0, 1.0), (2.0, 1.0), (0.0, np.nan)])
def test_a_window_must_rise(window):
    with pytest.raises(ValueError, match="window"):
        grey_levels(np.zeros(3), window)
