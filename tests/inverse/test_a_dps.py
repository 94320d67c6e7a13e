"""A-DPS where the posterior is known in closed form: it must be met, mean and spread."""

from dataclasses import replace

import pytest
import torch

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.diffusion.view import View
from rsd_med.inverse.a_dps import ADPSSettings
from tests.inverse.scenes import ambient_prior, columns, disc, gaussian_prior, measure, posterior, smooth_maps

STD, SIGMA, SIDE = 0.5, 0.1, 8
MASK = columns(2, 3, 4, 5, 7, size=SIDE)


def scene():
    image = STD * torch.view_as_complex(torch.randn(1, 1, SIDE, SIDE, 2, generator=generator_for(0, "image")))
    return measure(image, MASK, smooth_maps(3, SIDE), SIGMA)


@pytest.mark.parametrize("guidance", ["proximal", "likelihood"])
def test_an_exact_denoiser_gives_the_exact_posterior(guidance):
    measurement = scene()
    mean, covariance = posterior(measurement, STD)
    settings = ADPSSettings(
        samples=300, batch=300, steps=60, sigma_min=0.01, sigma_max=20, guidance=guidance, image_std=STD
    )
    found = settings.build(gaussian_prior(STD, SIDE))(measurement, generator_for(1, "draw"))
    spread = covariance.diagonal().real.sqrt().reshape(SIDE, SIDE)
    samples = found.samples[:, 0].to(torch.complex128)
    # Mean: within what 300 samples know, and a little for 60 Euler steps.
    error = (samples.mean(0) - mean).abs() / (spread * 2**0.5)
    assert float(error.square().mean().sqrt()) < 0.1
    # Spread per real component, pixel by pixel, and the correlation between pixels: the whole covariance.
    deviation = samples.flatten(1) - samples.mean(0).flatten()
    empirical = deviation.T @ deviation.conj() / (2 * len(samples))
    assert float((empirical.diagonal().real.sqrt() / covariance.diagonal().real.sqrt()).mean()) == pytest.approx(
        1, abs=0.05
    )
    assert float((empirical - covariance).norm() / covariance.norm()) < 0.35


def test_the_published_guidance_pulls_towards_the_data():
    measurement = scene()
    unguided, guided = (
        ADPSSettings(samples=4, steps=60, sigma_min=0.004, guidance="published", strength=strength).build(
            gaussian_prior(STD, SIDE)
        )(measurement, generator_for(0, "draw"))
        for strength in (0.0, 0.1)
    )
    assert guided.residual.relative < 0.5 * unguided.residual.relative


def test_the_last_state_is_returned():
    """Without data the walk is the prior's flow, whose end the Gaussian knows: x(0) = x(σ_max) std / √(std² + σ²)."""
    measurement = scene()
    settings = ADPSSettings(samples=1, steps=200, sigma_min=0.01, sigma_max=10, guidance="published", strength=0.0)
    found = settings.build(gaussian_prior(STD, SIDE))(measurement, generator_for(3, "draw"))
    root = int(torch.randint(2**62, (1,), generator=generator_for(3, "draw")))
    noise = torch.randn(2, SIDE, SIDE, generator=generator_for(root, "sample", 0))
    end = 10 * noise * STD / (STD**2 + 100) ** 0.5
    assert torch.allclose(found.samples[0, 0], torch.complex(end[0], end[1]), atol=0.02)


def test_sample_k_depends_neither_on_batches_nor_on_their_number():
    measurement = measure(disc(), columns(*range(5, 11), 1, 14), smooth_maps(3), 0.02)
    draw = [
        ADPSSettings(samples=samples, batch=batch, steps=4)
        .build(ambient_prior())(measurement, generator_for(0, "draw"))
        .samples
        for samples, batch in ((4, 4), (4, 2), (6, 2))
    ]
    assert torch.allclose(draw[0], draw[1], atol=1e-5)
    assert torch.allclose(draw[0], draw[2][:4], atol=1e-5)


def test_test_and_training_acceleration_may_differ():
    """Ã comes from the training's distribution (R = 2 here), whatever the scan's mask."""
    prior = ambient_prior()
    for mask in (columns(*range(6, 10)), columns(*range(16))):
        measurement = measure(disc(), mask, smooth_maps(3), 0.02)
        found = ADPSSettings(samples=2, steps=3).build(prior)(measurement, generator_for(0, "draw"))
        assert found.samples.shape == (2, 1, 16, 16)


def test_a_scan_of_another_size_is_refused():
    measurement = measure(disc(), columns(*range(16)), smooth_maps(3), 0.02)
    with pytest.raises(DataError, match="trained on 8 x 8"):
        ADPSSettings().build(gaussian_prior(STD, 8))(measurement, generator_for(0, "draw"))


def test_a_prior_meant_for_any_size_draws_masks_of_the_scans_width_with_the_same_share():
    """Trained on 8 columns (R = 2, 4 lines left, 2 of them central, one hidden): at 16, 8 lines, 4 and 2."""
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=2, further_lines=1, mask="file").build()
    masks = columns(2, 3, 4, 7, size=8)
    seen = []

    def show(operator):
        seen.append(operator.mask)
        return View()

    prior = replace(gaussian_prior(STD, 8), corruption=corruption, masks=masks, show=show)
    scan = measure(disc(), columns(*range(16)), smooth_maps(3), 0.02)
    with pytest.raises(DataError, match="--any-size"):
        ADPSSettings().build(prior)(scan, generator_for(0, "draw"))
    solver = ADPSSettings(samples=2, steps=3).build(replace(prior, any_size=True))
    assert solver(scan, generator_for(0, "draw")).samples.shape == (2, 1, 16, 16)
    assert seen[-1].shape == (2, 1, 1, 16)
    assert seen[-1].sum(-1).flatten().tolist() == [6, 6]
    assert bool(seen[-1][..., 6:10].all())


def test_a_prior_is_needed():
    with pytest.raises(ProtocolError, match="needs a prior"):
        ADPSSettings().build(None)
