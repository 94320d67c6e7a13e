import math

import numpy as np
import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics.image_quality import nmse, psnr, ssim, volume_quality
from tests.metrics.damage import generator


@pytest.fixture
def volumes() -> tuple[torch.Tensor, torch.Tensor]:
    reference = torch.rand(3, 20, 17, generator=generator(1)) * torch.tensor([1.0, 3.0, 0.5])[:, None, None]
    return reference, reference + 0.1 * torch.randn(reference.shape, generator=generator(2))


def test_nmse_and_psnr_follow_their_formulas(volumes):
    x, y = (v.numpy().astype(np.float64) for v in volumes)
    assert nmse(*volumes) == pytest.approx(np.linalg.norm(x - y) ** 2 / np.linalg.norm(x) ** 2, rel=1e-12)
    assert psnr(*volumes) == pytest.approx(20 * np.log10(x.max()) - 10 * np.log10(np.mean((x - y) ** 2)), rel=1e-12)


def test_psnr_agrees_with_skimage(volumes):
    metrics = pytest.importorskip("skimage.metrics")
    x, y = (v.numpy().astype(np.float64) for v in volumes)
    assert psnr(*volumes) == pytest.approx(metrics.peak_signal_noise_ratio(x, y, data_range=x.max()), rel=1e-12)


def test_ssim_follows_wang_with_the_volume_range(volumes):
    x, y = (v.double().unfold(1, 7, 1).unfold(2, 7, 1).flatten(3) for v in volumes)
    c1, c2 = ((k * float(volumes[0].max())) ** 2 for k in (0.01, 0.03))
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    covariance = ((x - mean_x[..., None]) * (y - mean_y[..., None])).sum(-1) / 48
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (x.var(-1) + y.var(-1) + c2)
    assert ssim(*volumes) == pytest.approx(float((luminance * structure).mean()), rel=1e-9)


def test_equal_volumes_are_perfect(volumes):
    reference = volumes[0]
    assert nmse(reference, reference) == 0
    assert psnr(reference, reference) == math.inf
    assert ssim(reference, reference) == pytest.approx(1)


@pytest.mark.parametrize("measure", [nmse, psnr, ssim])
def test_what_cannot_be_compared_is_refused(measure, volumes):
    x, y = volumes
    with pytest.raises(DataError, match="crop both alike"):
        measure(x, y[:, 1:])
    with pytest.raises(DataError, match="complex"):
        measure(x.to(torch.complex64), y)
    with pytest.raises(DataError, match="NaN"):
        measure(x, y / 0)
    with pytest.raises(DataError, match="zero everywhere"):
        measure(0 * x, y)


def test_ssim_needs_its_window(volumes):
    with pytest.raises(DataError, match="7x7"):
        ssim(volumes[0][:, :6], volumes[1][:, :6])


def test_slice_by_slice_gives_the_figures_of_the_volume(volumes):
    found = volume_quality(list(zip(*volumes, strict=True)))
    assert found.nmse == pytest.approx(nmse(*volumes), rel=1e-9)
    assert found.psnr == pytest.approx(psnr(*volumes), rel=1e-9)
    assert found.ssim == pytest.approx(ssim(*volumes), rel=1e-9)


def test_a_black_slice_is_part_of_a_volume_but_a_black_volume_is_none(volumes):
    x, y = (v.clone() for v in volumes)
    x[1] = 0
    assert volume_quality(list(zip(x, y, strict=True))).psnr == pytest.approx(psnr(x, y), rel=1e-9)
    with pytest.raises(DataError, match="zero everywhere"):
        volume_quality(list(zip(0 * x, y, strict=True)))
