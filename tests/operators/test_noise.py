import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.operators import complex_or_real_noise


def generator():
    return Draws().manual_seed(3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_real_noise_has_variance_sigma_squared(dtype):
    noise = complex_or_real_noise(torch.zeros(4, 1, 200, 200, dtype=dtype), 0.3, generator())
    assert noise.dtype == dtype
    assert noise.var() == pytest.approx(0.09, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.005)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_noise_has_sigma_per_component_and_variance_two_sigma_squared(dtype):
    noise = complex_or_real_noise(torch.zeros(4, 1, 200, 200, dtype=dtype), 0.3, generator())
    assert noise.dtype == dtype
    assert noise.real.var() == pytest.approx(0.09, rel=0.02)
    assert noise.imag.var() == pytest.approx(0.09, rel=0.02)
    assert noise.abs().square().mean() == pytest.approx(0.18, rel=0.02)
    assert (noise.real * noise.imag).mean() == pytest.approx(0, abs=0.002)


def test_each_item_may_have_its_own_sigma():
    sigma = torch.tensor([0.0, 0.5, 2.0])
    noise = complex_or_real_noise(torch.zeros(3, 2, 100, 100, dtype=torch.complex64), sigma, generator())
    assert noise[0].count_nonzero() == 0
    assert noise.real.flatten(1).std(dim=1)[1:].tolist() == pytest.approx([0.5, 2.0], rel=0.03)
    alone = complex_or_real_noise(torch.zeros(3, 2, 100, 100, dtype=torch.complex64), torch.tensor(0.5), generator())
    assert alone[1].equal(noise[1])


def test_the_generator_decides():
    like = torch.zeros(2, 3, dtype=torch.complex64)
    assert complex_or_real_noise(like, 1.0, generator()).equal(complex_or_real_noise(like, 1.0, generator()))
    same = generator()
    assert not complex_or_real_noise(like, 1.0, same).equal(complex_or_real_noise(like, 1.0, same))


def test_refuses_impossible_levels():
    like = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="at least 0"):
        complex_or_real_noise(like, -0.1, generator())
    with pytest.raises(ValueError, match="at least 0"):
        complex_or_real_noise(like, float("nan"), generator())
    for levels in (torch.ones(3), torch.ones(2, 1)):
        with pytest.raises(ValueError, match="do not fit"):
            complex_or_real_noise(like, levels, generator())
