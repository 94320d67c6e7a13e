"""The readout: what was sampled, and the crop that removes oversampling."""

import functools

import pytest
import torch

from rsd_med.data.readout import sampled_rows, without_oversampling

from .conftest import complex_noise


@pytest.mark.parametrize(("stored", "rows"), [(16, 8), (16, 9), (15, 8), (15, 7), (16, 1)])
def test_the_crop_is_the_plain_one_to_the_last_bit(stored, rows):
    kspace = torch.from_numpy(complex_noise(2, stored, 6))
    shift, unshift = (functools.partial(f, dim=-2) for f in (torch.fft.fftshift, torch.fft.ifftshift))
    image = shift(torch.fft.ifft(unshift(kspace), dim=-2, norm="ortho"))
    start = stored // 2 - rows // 2
    plain = shift(torch.fft.fft(unshift(image[:, start : start + rows]), dim=-2, norm="ortho"))
    cropped, sampled = without_oversampling(kspace, sampled_rows(kspace), rows)
    assert torch.equal(cropped, plain)
    assert sampled is None


def test_rows_at_the_edge_that_hold_nothing_were_not_sampled():
    kspace = torch.from_numpy(complex_noise(2, 16, 6))
    kspace[:, 7] = 0  # a gap in the middle is a measurement: lines end at their ends
    assert sampled_rows(kspace).all()
    kspace[:, :3] = kspace[:, 15:] = 0
    assert torch.nonzero(sampled_rows(kspace)).flatten().tolist() == list(range(3, 15))
    assert not sampled_rows(torch.zeros(2, 4, 4)).any()
