"""Simulated scans that differ as a hospital's do."""

import torch

from rsd_med.data.simulation import Scanner

NAMES = [f"slice {number}" for number in range(24)]


def disc() -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    return (y**2 + x**2 < 0.6).float()


def test_each_scan_has_its_own_noise_phase_and_shading_and_noise_alone_is_left_out_by_sigma():
    noisy, clean = (Scanner(coils=2, sigma=sigma, acceleration=None, varied=True) for sigma in (0.02, 0.0))
    noises, phases, shades = [], [], []
    for name in NAMES:
        with_noise, maps = noisy.scan(disc(), name)
        without, same_maps = clean.scan(disc(), name)
        assert torch.equal(maps, same_maps)
        noises.append(float((with_noise - without).real.std()))
        image = (maps.conj() * _image(without)).sum(0)
        inside = disc() > 0
        phases.append(float((image[inside] / image[inside].abs()).mean().abs()))
        shades.append(float(image.abs()[inside].std() / image.abs()[inside].mean()))
    assert 0.002 * 0.9 < min(noises) < 0.004
    assert 0.012 < max(noises) < 0.02 * 1.1
    assert min(phases) < 0.4
    assert max(phases) > 0.8
    assert min(shades) < 0.1
    assert max(shades) > 0.3


def test_scans_that_are_not_varied_are_as_they_were():
    plain = Scanner(coils=2, sigma=0.02, acceleration=None)
    noises = [float((plain.scan(disc(), name)[0] - _quiet(name)).real.std()) for name in NAMES[:4]]
    assert max(noises) / min(noises) < 1.1


def _quiet(name: str) -> torch.Tensor:
    return Scanner(coils=2, acceleration=None).scan(disc(), name)[0]


def _image(kspace: torch.Tensor) -> torch.Tensor:
    plane = (-2, -1)
    return torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=plane)), dim=plane)
