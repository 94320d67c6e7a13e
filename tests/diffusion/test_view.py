"""Views: where two networks are compared."""

import pytest
import torch

from rsd_med.diffusion.view import View

from .gaussian import generator


def test_everything_is_compared_by_default():
    gap = torch.randn(3, 2, 4, 4, generator=generator())
    assert torch.equal(View().restrict(gap), gap)
    assert torch.allclose(View().mean(gap), gap.mean((1, 2, 3)))


def test_the_mean_is_that_of_the_pixels_compared():
    compared = torch.rand(3, 1, 4, 4, generator=generator(1)) < 0.4
    compared[2] = False
    gap = torch.randn(3, 2, 4, 4, generator=generator()).masked_fill(~compared, float("nan"))
    view = View(compared=compared)
    assert torch.equal(view.restrict(gap).isnan(), torch.zeros(3, 2, 4, 4, dtype=torch.bool))
    for item in range(2):
        chosen = gap[item][:, compared[item, 0]]
        assert torch.equal(view.restrict(gap)[item][:, compared[item, 0]], chosen)
        assert float(view.mean(gap)[item]) == pytest.approx(float(chosen.mean()), rel=1e-5)
    assert float(view.mean(gap)[2]) == 0
