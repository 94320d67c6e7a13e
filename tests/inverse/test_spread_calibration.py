"""The spread of draws is set so that intervals cover what they say of hidden lines."""

from dataclasses import replace

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement
from rsd_med.diffusion.unrolled import CALIBRATED
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.inverse.spread_calibration import calibrate_spread, own_spread
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


def scanned(items, centre=1.0):
    """Images without structure; four central columns, which are ``centre`` times as strong, and most of the others."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(items, 1, SIDE, SIDE, dtype=torch.complex64, generator=generator) * 2**0.5
    maps = torch.ones(items, 1, SIDE, SIDE, dtype=torch.complex64)
    mask = torch.rand(items, 1, 1, SIDE, generator=generator) < 0.8
    mask[..., 6:10] = True
    operator = MultiCoilFourier(mask, maps)
    data = operator(image)
    data[..., 6:10] *= centre  # these are measured always: how well they are predicted is of no use
    return Measurement(data, operator, torch.full((items,), 0.01), torch.ones(items), tuple(map(str, range(items))))


@pytest.mark.parametrize(("std", "centre"), [(0.5, 1.0), (2.0, 1.0), (2.0, 0.1)])
def test_a_wrong_spread_is_set_right_by_lines_outside_the_centre(std, centre):
    scans = scanned(ITEMS, centre)
    score = HiddenLinesScore(4, 2, 2, ("entries",), (0.2, 0.8))
    network = Humble(std)
    calibrate_spread(network, score, scans, generator_for(0, "spread"))
    assert torch.equal(network.shown_shares, network.shown_shares.sort().values)
    assert float(network.shown_shares[0]) < 0.35 < 0.6 < float(network.shown_shares[-1])
    torch.testing.assert_close(network.spreads, torch.full((CALIBRATED,), 1 / std), rtol=0.12, atol=0)


@pytest.mark.parametrize("std", [0.5, 2.0])
def test_a_scan_of_its_own_says_how_far_draws_have_to_differ(std):
    scan = scanned(1)
    mask = torch.zeros_like(scan.operator.mask)
    mask[..., [0, 1, 3, 4, 6, 7, 8, 9, 11, 12, 14, 15]] = True
    operator = MultiCoilFourier(mask, scan.operator.maps)
    data = torch.view_as_complex(torch.randn(*scan.data.shape, 2, generator=torch.Generator().manual_seed(1)))
    scan = replace(scan, operator=operator, data=data * mask)
    own = own_spread(Humble(std), scan, 8, generator_for(0, "own"))
    assert own == pytest.approx(1 / std, rel=0.25)  # of one scan
    assert own_spread(Humble(std), replace(scan, sigma=torch.zeros(1)), 8, generator_for(0, "own")) is None
    few = mask.clone()
    few[..., 11:] = False
    few, data = scan.operator.restricted(scan.data, few)
    assert own_spread(Humble(std), replace(scan, operator=few, data=data), 8, generator_for(0, "own")) is None
