"""Ambient masked: its minimum is the clean posterior mean given what was shown, on hidden pixels too."""

import pytest
import torch

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement, NoiseSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.operators import Identity, SamplingMask
from rsd_med.teachers.ambient_masked import AmbientMasked, AmbientMaskedSettings

from .toys import GaussianImages, LinearDenoiser, fit, generator, one_level, relative_error

MISSING, DELTA, COUNT = 0.3, 0.3, 20_000


def seen_through_masks(law, count, sigma_n, complex_images=False, seed=2):
    """Images and their measurements, each with a fresh mask."""
    corruption = InpaintingSettings(missing=MISSING, delta=DELTA, sigma=sigma_n).build()
    images = law.draw(count, seed)
    data = torch.complex(images[:, :1], images[:, 1:]) if complex_images else images
    like = Measurement(data, Identity(), torch.zeros(count), torch.ones(count), ("toy",) * count)
    return corruption, images, corruption.corrupt(data, like, generator(seed + 50))


def errors(sigma, sigma_n=0.0, shape=(2, 1, 2), complex_images=False, loss_mask="acquired"):
    """Relative errors of the fitted denoiser on pixels that it was shown, and on pixels that were hidden from it."""
    law = GaussianImages(shape, seed=5)
    corruption, _, measurement = seen_through_masks(law, COUNT, sigma_n, complex_images)
    objective = AmbientMasked(corruption, one_level(sigma), loss_mask)
    denoiser = LinearDenoiser(shape, objective.further(measurement.operator, generator(4)).mask.float())
    assert len(denoiser.codes) == 2 ** shape[-1]
    fit(objective, denoiser, measurement)

    images = law.draw(2000, seed=8)
    view = objective.show(objective.further(corruption.draw(measurement[:2000], generator(9)), generator(9)))
    noisy = view.project(images + sigma * torch.randn(images.shape, generator=generator(10)))
    found = denoiser(noisy, torch.full((2000,), sigma), view.context).detach()
    shown = view.context.bool().expand(-1, shape[0], -1, -1)
    expected = torch.zeros_like(found, dtype=torch.float64)
    for mask in shown.flatten(1).unique(dim=0):
        chosen = (shown.flatten(1) == mask).all(1)
        expected[chosen] = law.posterior_mean(noisy[chosen], sigma, torch.diag(mask.double()))
    mean = law.mean.reshape(shape).float()
    return tuple(relative_error((found - mean)[place], (expected - mean)[place]) for place in (shown, ~shown))


@pytest.mark.parametrize(
    ("sigma", "sigma_n", "complex_images"), [(0.3, 0.0, False), (1.0, 0.0, True), (0.7, 0.4, False), (1.0, 0.4, True)]
)
def test_the_minimum_is_the_clean_posterior_mean_on_hidden_pixels_too(sigma, sigma_n, complex_images):
    shown, hidden = errors(sigma, sigma_n, complex_images=complex_images)
    assert shown < 0.05
    assert hidden < 0.08


def test_a_loss_on_the_shown_pixels_alone_does_not_find_it():
    """The ablation, and the toy can tell: hidden pixels are never supervised, shown ones are right all the same."""
    shown, hidden = errors(0.3, loss_mask="shown")
    assert shown < 0.05
    assert hidden > 0.9


def test_plain_regression_of_noisy_pixels_would_keep_their_noise(monkeypatch):
    """The toy can tell: read as noise-free, the same data at the same total noise end at the mean of y."""
    sigma, sigma_n = 0.7, 0.4
    inner = AmbientMasked.__call__

    def as_if_clean(self, denoiser, measurement, source):
        noise_free = Measurement(
            measurement.data, measurement.operator, torch.zeros(len(measurement)), measurement.scale, measurement.ids
        )
        self.levels = one_level((sigma**2 - sigma_n**2) ** 0.5)
        return inner(self, denoiser, noise_free, source)

    monkeypatch.setattr(AmbientMasked, "__call__", as_if_clean)
    shown, _ = errors(sigma, sigma_n)
    assert shown > 0.1


class Spy(LinearDenoiser):
    """Notes what it is shown, and answers 0."""

    def forward(self, x, sigma, context=None):
        self.noisy, self.sigma, self.context = x, sigma, context
        return torch.zeros_like(x)


@pytest.mark.parametrize("sigma_n", [0.0, 0.4])
def test_the_loss_is_the_formula(sigma_n):
    """Written out: Ã first, then σ > σ_n, then n; on Ã the double Tweedie residual, on A \\ Ã that of y, else none."""
    law = GaussianImages((2, 3, 4))
    corruption, _, measurement = seen_through_masks(law, 6, sigma_n)
    spy = Spy(law.shape)
    found = AmbientMasked(corruption, LogNormalLevels())(spy, measurement, generator(3))
    source = generator(3)
    shown = corruption.further(measurement.operator, source).mask.double()
    sigma = LogNormalLevels().draw(6, source, above=sigma_n)
    n = torch.randn(6, 2, 3, 4, generator=source).double()
    y, acquired = measurement.data.double(), measurement.operator.mask.double()
    assert (sigma > sigma_n).all()
    for i in range(6):
        x = shown[i] * (y[i] + (sigma[i].double() ** 2 - sigma_n**2).sqrt() * n[i])
        assert torch.allclose(spy.noisy[i].double(), x, atol=1e-6)
        share = sigma_n**2 / sigma[i].double() ** 2
        residual = shown[i] * (share * x - y[i]) + (acquired[i] - shown[i]) * (-y[i])
        assert float(found[i]) == pytest.approx(float(0.7 / sigma[i] * residual.square().sum()), rel=1e-4)
    assert torch.equal(spy.sigma, sigma)
    assert torch.equal(spy.context, shown.float())


def test_items_of_different_noise_share_a_batch():
    """σ_n is each item's own: those without noise draw from the whole law and are asked for y everywhere."""
    law = GaussianImages((1, 2, 2))
    count = 4000
    corruption, _, measurement = seen_through_masks(law, count, 0.0)
    sigma_n = torch.tensor([0.0, 0.8]).repeat(count // 2)
    mixed = Measurement(measurement.data, measurement.operator, sigma_n, measurement.scale, measurement.ids)
    spy = Spy(law.shape)
    AmbientMasked(corruption, LogNormalLevels())(spy, mixed, generator(3))
    assert float((spy.sigma[::2] < 0.8).float().mean()) > 0.7
    assert (spy.sigma[1::2] > 0.8).all()


@pytest.mark.parametrize("shape", ["pixels", "block"])
def test_a_view_shows_a_part_of_what_its_operator_acquires(shape):
    corruption = InpaintingSettings(missing=0.25, shape=shape, delta=0.3).build()
    like = Measurement(torch.zeros(200, 1, 8, 8), Identity(), torch.zeros(200), torch.ones(200), ("a",) * 200)
    operator = corruption.draw(like, generator())
    images = torch.randn(200, 3, 8, 8, generator=generator(1))
    objective = AmbientMasked(corruption, LogNormalLevels())
    view = objective.show(objective.further(operator, generator(2)))
    shown = view.context.bool()
    assert view.context.shape == (200, 1, 8, 8)
    assert not (shown & ~operator.mask).any()
    assert (shown.sum((1, 2, 3)) < operator.mask.sum((1, 2, 3))).float().mean() > 0.9
    assert torch.equal(view.project(images), images * shown)
    assert torch.equal(view.compared, shown)


def test_hidden_blocks_look_like_missing_ones():
    """Among single removed pixels a missing block would be known for what it is, and nothing would teach its inside."""
    corruption = InpaintingSettings(missing=0.25, shape="block").build()
    acquired = corruption.draw_items(500, (8, 8), generator()).mask
    hidden = acquired & ~corruption.further(SamplingMask(acquired), generator(1)).mask
    whole = hidden.sum((1, 2, 3)) == (~acquired).sum((1, 2, 3))
    assert whole.any()  # the second block does not touch the first
    rows = hidden[whole].any(-1).sum((1, 2))
    assert (rows == 4).all()
    assert (hidden[whole].sum((1, 2, 3)) == 16).all()


def test_the_students_image_is_observed_whole_and_compared_where_it_is_shown():
    corruption, images, measurement = seen_through_masks(GaussianImages((1, 4, 4)), 5, 0.0)
    objective = AmbientMasked(corruption, LogNormalLevels())
    assert torch.equal(objective.observe(images, measurement.operator), images)
    shown = objective.further(measurement.operator, generator())
    view = objective.show(shown)
    assert torch.equal(view.restrict(images), images * view.context)
    everywhere = AmbientMaskedSettings(compared="everywhere").build(corruption).show(shown)
    assert torch.equal(everywhere.restrict(images), images)
    assert torch.equal(everywhere.context, view.context)


@pytest.mark.parametrize("fill", [123.0, float("nan")])
@pytest.mark.parametrize("sigma_n", [0.0, 0.2])
def test_missing_pixels_change_nothing(fill, sigma_n):
    """Loss and gradients are the same to the last bit, whatever stands where no pixel was acquired."""
    law = GaussianImages((2, 4, 4))
    corruption, _, measurement = seen_through_masks(law, 8, sigma_n)
    other = measurement.data.masked_fill(~measurement.operator.mask, fill)
    peeking = Measurement(other, measurement.operator, measurement.sigma, measurement.scale, measurement.ids)
    objective = AmbientMasked(corruption, LogNormalLevels())
    kept = []
    for given in (measurement, peeking):
        kernel = torch.full((2, 3, 3, 3), 0.1, requires_grad=True)
        network = Convolution(kernel)
        loss = objective(network, given, generator(6))
        loss.sum().backward()
        kept.append((loss.detach(), kernel.grad))
    assert torch.equal(kept[0][0], kept[1][0])
    assert torch.equal(kept[0][1], kept[1][1])
    assert torch.isfinite(kept[0][1]).all()
    assert kept[0][1].any()


class Convolution:
    """A network whose answer at a pixel depends on its neighbours."""

    def __init__(self, kernel):
        self.kernel = kernel

    def weight(self, sigma):
        return 1 / sigma

    def __call__(self, x, sigma, context):
        return torch.nn.functional.conv2d(torch.cat([x, context], 1), self.kernel, padding=1)


def test_the_network_is_told_one_mask():
    assert AmbientMasked.context_channels == 1


def test_other_corruptions_and_operators_are_refused():
    with pytest.raises(ProtocolError, match=r"corruption\.kind: inpainting"):
        AmbientMaskedSettings().build(NoiseSettings(sigma=0.1).build())
    built = AmbientMaskedSettings(loss_mask="shown").build(InpaintingSettings(missing=0.5).build())
    assert built.loss_mask == "shown"
    measurement = Measurement(torch.zeros(1, 1, 4, 4), Identity(), torch.zeros(1), torch.ones(1), ("a",))
    with pytest.raises(ProtocolError, match="inpainting needs images"):
        built(Spy((1, 4, 4)), measurement, generator())
