"""Rows of an image are measured apart where whole columns of k-space are."""

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.operators.fourier import fft2c
from rsd_med.operators.mri import MultiCoilFourier


def _scan(rows: int) -> tuple[MultiCoilFourier, torch.Tensor]:
    draws = generator_for(0, "scan", rows)
    maps, image = (
        torch.complex(draws.normal(*shape), draws.normal(*shape)) for shape in ((1, 3, rows, 10), (1, 1, rows, 10))
    )
    return MultiCoilFourier(draws.uniform(1, 1, 1, 10) > 0.5, maps), image


@pytest.mark.parametrize(
    ("height", "rows"), [(12, slice(3, 9)), (13, slice(0, 6)), (13, slice(6, 13)), (12, slice(0, 12))]
)
def test_a_strip_is_the_scan_of_the_rows(height: int, rows: slice):
    operator, image = _scan(height)
    data = operator(image)
    strip, cut = operator.strip(data, rows)
    expected = fft2c(operator.maps[..., rows, :] * image[..., rows, :]) * operator.mask  # the other rows do not count
    torch.testing.assert_close(cut, expected)
    torch.testing.assert_close(strip.H(cut), operator.H(data)[..., rows, :])


def test_noise_stays_white_and_a_mask_of_cells_is_refused():
    operator, _ = _scan(64)
    whole = MultiCoilFourier(torch.ones_like(operator.mask), operator.maps)
    draws = generator_for(1, "noise")
    noise = torch.complex(draws.normal(1, 3, 64, 10), draws.normal(1, 3, 64, 10))
    _, cut = whole.strip(noise, slice(20, 44))
    assert abs(float(cut.real.std()) - 1) < 0.05
    correlation = (cut[..., 1:, :] * cut[..., :-1, :].conj()).mean().abs()
    assert float(correlation) < 0.1 * 2
    with pytest.raises(ValueError, match="constant along y"):
        MultiCoilFourier(torch.ones(1, 1, 64, 10, dtype=torch.bool), operator.maps).strip(noise, slice(0, 3))
