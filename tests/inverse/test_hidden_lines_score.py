"""What the score asks of lines that are shown: not the noise that comes with them."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.inverse.hidden_lines_score import HiddenLinesScore
from rsd_med.operators.mri import MultiCoilFourier

SIDE, ITEMS, SIGMA, SIGNAL = 16, 64, 0.5, 1.0


class Shrunk(nn.Module):
    """Zero-filled images, made smaller: the best factor for white signal is Wiener's."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor
        self.levels = Tensor()

    def forward(self, measurement: Measurement, noise: Tensor) -> Tensor:
        self.levels = measurement.sigma
        return self.factor * measurement.image()[:, None]


def white_scan() -> Measurement:
    draws = generator_for(0, "scan")
    operator = MultiCoilFourier(torch.ones(ITEMS, 1, 1, SIDE, dtype=torch.bool), torch.ones(1, SIDE, SIDE) + 0j)
    parts = draws.normal(ITEMS, 1, SIDE, SIDE, 2), draws.normal(ITEMS, 1, SIDE, SIDE, 2)
    data = SIGNAL * torch.view_as_complex(parts[0]) + SIGMA * torch.view_as_complex(parts[1])
    names = tuple(f"item {number}" for number in range(ITEMS))
    return Measurement(data, operator, torch.full((ITEMS,), SIGMA), torch.ones(ITEMS), names)


def test_the_best_answer_leaves_the_noise_of_shown_lines_out():
    scan = white_scan()
    score = HiddenLinesScore(SIDE, SIDE, 1, ("entries",), (0.5, 0.5))  # every line is shown
    factors = torch.linspace(0.4, 1.0, 25)
    values = torch.stack([score(Shrunk(float(f)), scan, generator_for(0, "s"))[0].mean() for f in factors])
    network = Shrunk(1.0)
    score(network, scan, generator_for(0, "s"))
    given = float(network.levels.square().mean())
    assert SIGMA**2 * 1.25 < given < SIGMA**2 * 2  # more noise than there was, and the network is told
    wiener = SIGNAL**2 / (SIGNAL**2 + given)
    assert abs(float(factors[values.argmin()]) - wiener) < 0.06
    assert float(values[-1]) > float(values.min()) + 0.01  # to give back what was shown is worse


def test_an_unknown_noise_leaves_shown_lines_out():
    scan = white_scan()
    scan = replace(scan, sigma=torch.zeros(ITEMS))
    score = HiddenLinesScore(SIDE, SIDE, 1, ("entries",), (0.5, 0.5))
    assert float(score(Shrunk(0.3), scan, generator_for(0, "s"))[0].abs().max()) < 1e-5
