"""The spread of draws is set so that intervals cover what they say of hidden lines."""

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement
from rsd_med.diffusion.unrolled import CALIBRATED
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.inverse.spread_calibration import calibrate_spread
from rsd_med.operators.mri import MultiCoilFourier

SIDE, ITEMS = 16, 24


class Humble:
    """Says of every image that it is normal around zero, with too small or too large a spread."""

    def __init__(self, std: float) -> None:
        self.std = std
        self.shown_shares = torch.linspace(0, 1, CALIBRATED)
        self.spreads = torch.ones(CALIBRATED)

    def pairs(self, measurement, noise):
        gaps = self.std * torch.view_as_complex(noise[:, :, :2].movedim(2, -1).contiguous())[:, :, None]
        return torch.zeros_like(gaps[:, :1]), gaps


@pytest.mark.parametrize(("std", "centre"), [(0.5, 1.0), (2.0, 1.0), (2.0, 0.1)])
def test_a_wrong_spread_is_set_right_by_lines_outside_the_centre(std, centre):
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(ITEMS, 1, SIDE, SIDE, dtype=torch.complex64, generator=generator) * 2**0.5
    maps = torch.ones(ITEMS, 1, SIDE, SIDE, dtype=torch.complex64)
    mask = torch.rand(ITEMS, 1, 1, SIDE, generator=generator) < 0.8
    mask[..., 6:10] = True
    operator = MultiCoilFourier(mask, maps)
    sigma = torch.full((ITEMS,), 0.01)
    data = operator(image)
    data[..., 6:10] *= centre  # these are measured always: how well they are predicted is of no use
    scans = Measurement(data, operator, sigma, torch.ones(ITEMS), tuple(map(str, range(ITEMS))))
    score = HiddenLinesScore(4, 2, 2, ("entries",), (0.2, 0.8))
    network = Humble(std)
    calibrate_spread(network, score, scans, generator_for(0, "spread"))
    assert torch.equal(network.shown_shares, network.shown_shares.sort().values)
    assert float(network.shown_shares[0]) < 0.35 < 0.6 < float(network.shown_shares[-1])
    torch.testing.assert_close(network.spreads, torch.full((CALIBRATED,), 1 / std), rtol=0.12, atol=0)
