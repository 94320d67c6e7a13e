"""Solvers without a prior against direct solutions and sigpy."""

import numpy as np
import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.wavelets import Wavelet, fitting_levels, soft_threshold
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.operators.mri import MultiCoilFourier
from tests.inverse.scenes import columns, disc, measure, smooth_maps

MASK = columns(*range(5, 11), 1, 14)


@pytest.fixture
def measurement():
    return measure(disc(), MASK, smooth_maps(4), 0.01)


def solve(settings, measurement):
    return settings.build()(measurement, generator_for(0, "solve"))


def test_zero_filling_is_the_adjoint(measurement):
    found = solve(ZeroFilledSettings(), measurement)
    assert torch.equal(found.mean, measurement.operator.H(measurement.data)[0])
    assert found.std is None
    assert found.interval is None


def test_cg_sense_is_the_direct_solution(measurement):
    weight = 0.02
    found = solve(CGSenseSettings(regularisation=weight, iterations=200, tolerance=1e-7), measurement)
    operator = MultiCoilFourier(measurement.operator.mask[0], measurement.operator.maps[0])
    basis = torch.eye(256, dtype=torch.complex64).reshape(-1, 1, 16, 16)
    gram = operator.normal(basis).reshape(256, 256).T.to(torch.complex128)
    right = measurement.image().flatten().to(torch.complex128)
    direct = torch.linalg.solve(gram + weight * torch.eye(256), right).reshape(16, 16)
    assert float((found.mean[0] - direct).norm() / direct.norm()) < 1e-4


def test_the_wavelet_transform_is_pywavelets():
    pywt = pytest.importorskip("pywt")
    image = torch.randn(32, 48, generator=generator_for(0, "image"))
    expected, _ = pywt.coeffs_to_array(pywt.wavedec2(image.numpy(), "db4", mode="periodization", level=2))
    assert np.allclose(Wavelet("db4", 2).forward(image).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["haar", "db2", "db4"])
def test_the_wavelet_transform_is_orthonormal(name):
    wavelet = Wavelet(name, 2)
    shape = (2, 1, 16, 24)
    image = torch.complex(*(torch.randn(shape, generator=generator_for(0, part)) for part in "ab"))
    coefficients = wavelet.forward(image)
    assert torch.allclose(wavelet.inverse(coefficients), image, atol=1e-5)
    assert float(coefficients.norm()) == pytest.approx(float(image.norm()), rel=1e-5)


def test_soft_thresholding_shrinks_magnitudes_and_keeps_phases():
    values = torch.tensor([3 + 4j, 0.1j, 0])
    assert torch.allclose(soft_threshold(values, 1.0), torch.tensor([2.4 + 3.2j, 0, 0]))


def test_levels_fit_the_image():
    assert [fitting_levels(side, 64, 3) for side in (64, 32, 16, 15, 7)] == [3, 2, 1, 0, 0]


def test_l1_wavelet_reaches_the_minimum_that_sigpy_reaches(measurement):
    """The same objective minimised by sigpy's own FISTA on sigpy's own operators (Haar: no question of edges)."""
    sigpy = pytest.importorskip("sigpy")
    pytest.importorskip("sigpy.mri")
    weight = 0.01
    settings = L1WaveletSettings(regularisation=weight, iterations=150, wavelet="haar", levels=1, random_shifts=False)
    found = solve(settings, measurement).mean[0].numpy()
    data, maps = measurement.data[0].numpy(), measurement.operator.maps[0].numpy()
    sense = sigpy.mri.linop.Sense(maps, weights=MASK[0].expand(4, 16, 16).numpy().astype(np.float32))
    wavelet = sigpy.linop.Wavelet((16, 16), wave_name="haar", level=1)
    right = sense.H(data)
    method = sigpy.alg.GradientMethod(
        lambda x: sense.N(x) - right,
        np.zeros((16, 16), np.complex64),
        1.0,
        proxg=sigpy.prox.UnitaryTransform(sigpy.prox.L1Reg(wavelet.oshape, weight), wavelet),
        accelerate=True,
        max_iter=150,
    )
    while not method.done():
        method.update()

    def objective(image):
        residual = sense(image) - data
        return float((np.abs(residual) ** 2).sum() / 2 + weight * np.abs(wavelet(image)).sum())

    assert objective(found) == pytest.approx(objective(method.x), rel=1e-3)
    assert np.linalg.norm(found - method.x) / np.linalg.norm(method.x) < 0.02


def test_random_shifts_draw_from_the_generator_alone(measurement):
    settings = L1WaveletSettings(iterations=5)
    state = torch.random.get_rng_state()
    first, second = (solve(settings, measurement).mean for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)
    other = settings.build()(measurement, generator_for(1, "solve")).mean
    assert not torch.equal(first, other)


def test_regularised_solutions_beat_zero_filling(measurement):
    truth = disc()[0]
    errors = [
        float((solve(settings, measurement).mean - truth).norm())
        for settings in (ZeroFilledSettings(), CGSenseSettings(), L1WaveletSettings())
    ]
    assert errors[0] > 1.5 * max(errors[1:])
