"""Corruptions of images by an operator: fixed for an item, fresh for a generation, differentiable."""

import pytest
import torch
from pydantic import ValidationError

from rsd_med.base.draws import Draws
from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions import Measurement
from rsd_med.corruptions.blur import BlurSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.corruptions.kspace_motion import KSpaceMotionSettings
from rsd_med.corruptions.motion_blur import MotionBlurSettings
from rsd_med.corruptions.poisson import PoissonSettings
from rsd_med.corruptions.rician import RicianSettings
from rsd_med.corruptions.super_resolution import SuperResolutionSettings
from rsd_med.corruptions.tomography import SparseViewSettings
from tests.operators.contracts import random_tensor, relative_error

LINEAR = [
    BlurSettings(sigma=0.2),
    MotionBlurSettings(sigma=0.2),
    SuperResolutionSettings(factor=4, sigma=0.2),
    InpaintingSettings(missing=0.6, sigma=0.2),
    InpaintingSettings(missing=0.3, shape="block", sigma=0.2),
    KSpaceMotionSettings(shots=4, rotation=10, sigma=0.2),
]
COLOURED = [SparseViewSettings(views=7, sinogram_noise=0.02), RicianSettings(noise=0.2)]
REAL = [PoissonSettings(peak=30)]
IDS = [settings.kind for settings in (*LINEAR, *COLOURED, *REAL)]


def generator(seed=0):
    return Draws().manual_seed(seed)


def batch_of(corruption, images):
    return Measurement.cat([corruption.measure_image(image, str(i), generator(i)) for i, image in enumerate(images)])


# What counts photons has no complex images, and refuses them (below).
CASES = [(settings, torch.float32) for settings in (*LINEAR, *COLOURED, *REAL)]
CASES += [(settings, torch.complex64) for settings in (*LINEAR, *COLOURED)]


@pytest.mark.parametrize(("settings", "dtype"), CASES, ids=[f"{settings.kind}-{dtype}" for settings, dtype in CASES])
def test_measures_items_and_generations_alike(settings, dtype):
    corruption, images = settings.build(), random_tensor((4, 1, 16, 16), dtype, 1) / 2
    measurement = batch_of(corruption, images)
    assert measurement.data.shape == images.shape
    assert measurement.data.dtype == dtype
    assert measurement.data.equal(batch_of(corruption, images).data)
    assert measurement[1:3].data.equal(measurement.data[1:3])
    expected_sigma = getattr(settings, "sigma", 0.0)
    assert measurement.sigma.tolist() == pytest.approx([expected_sigma] * 4)
    leaf = images.clone().requires_grad_()
    corrupted = corruption.corrupt(leaf, measurement, generator(9))
    again = corruption.corrupt(leaf, measurement, generator(9))
    assert corrupted.data.equal(again.data)
    assert not corrupted.data.equal(corruption.corrupt(leaf, measurement, generator(10)).data)
    (gradient,) = torch.autograd.grad(corrupted.data.abs().square().sum(), leaf)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
    further = corruption.further(corrupted.operator, generator(3))
    assert further(images).shape == images.shape


@pytest.mark.parametrize("settings", LINEAR, ids=IDS[: len(LINEAR)])
def test_noise_has_the_level_where_something_is_measured(settings):
    corruption, images = settings.build(), torch.zeros(8, 3, 32, 32)
    noise = corruption.corrupt(images, batch_of(corruption, images), generator(1))
    measured = noise.operator(torch.ones_like(images)) != 0
    assert noise.data[measured].std().item() == pytest.approx(0.2, rel=0.05)
    assert noise.data[~measured].count_nonzero() == 0


@pytest.mark.parametrize("settings", [MotionBlurSettings(), InpaintingSettings(missing=0.5), KSpaceMotionSettings()])
def test_every_item_has_its_own_operator_and_keeps_it(settings):
    corruption, images = settings.build(), random_tensor((1, 1, 16, 16), torch.float32, 1).expand(3, -1, -1, -1)
    measurement = batch_of(corruption, images)
    assert not measurement.data[0].equal(measurement.data[1])
    assert relative_error(measurement.operator(images), measurement.data) < 1e-6
    assert relative_error(measurement.operator[2:](images[2:]), measurement.data[2:]) < 1e-6


@pytest.mark.parametrize("order", ["sequential", "interleaved"])
def test_the_shot_of_the_centre_of_kspace_stays_and_the_others_move_within_their_limits(order):
    corruption = KSpaceMotionSettings(shots=5, order=order, shift=3, rotation=20).build()
    operator = corruption.draw_items(200, (32, 33), generator())
    still = int(operator.shot[0, 16])
    moving = [number for number in range(5) if number != still]
    assert not operator.shift[:, still].any()
    assert not operator.angle[:, still].any()
    assert operator.shift[:, moving].abs().amax() == pytest.approx(3, rel=0.02)
    assert operator.angle[:, moving].abs().amax() == pytest.approx(20 * 3.14159 / 180, rel=0.02)
    assert operator.shift[:, moving].mean().abs() < 0.15
    shots = operator.shot[0].tolist()
    assert set(shots) == set(range(5))
    assert (sorted(shots) == shots) == (order == "sequential")


def test_further_inpainting_sees_a_part_of_what_was_seen():
    corruption = InpaintingSettings(missing=0.5, delta=0.3).build()
    operator = corruption.draw(batch_of(corruption, torch.zeros(6, 1, 32, 32)), generator())
    further = corruption.further(operator, generator(1))
    assert not (further.mask & ~operator.mask).any()
    assert further.mask.sum() / operator.mask.sum() == pytest.approx(0.7, abs=0.03)


def test_counts_have_the_mean_and_the_variance_of_poisson():
    corruption = PoissonSettings(peak=40, black=0.0).build()
    images = torch.full((1, 1, 300, 300), 0.5)
    leaf = images.clone().requires_grad_()
    data = corruption.corrupt(leaf, batch_of(corruption, images), generator(1)).data
    assert data.mean().item() == pytest.approx(0.5, rel=0.005)
    assert data.var().item() == pytest.approx(0.5 / 40, rel=0.02)
    counts = data.detach() * 40
    assert torch.allclose(counts, counts.round(), atol=1e-3)
    # d/dx of the mean is 1, and of the second moment x^2 + x / peak it is 2 x + 1 / peak.
    (first,) = torch.autograd.grad(data.mean(), leaf, retain_graph=True)
    assert first.sum().item() == pytest.approx(1, rel=0.02)
    (second,) = torch.autograd.grad(data.square().mean(), leaf)
    assert second.sum().item() == pytest.approx(1 + 1 / 40, rel=0.02)
    black = corruption.corrupt(-images, batch_of(corruption, images), generator(1)).data
    assert black.count_nonzero() == 0


@pytest.mark.parametrize(("black", "dtype"), [(-1.0, torch.float32), (0.0, torch.float32), (-1.0, torch.complex64)])
@pytest.mark.parametrize("signal", [0.0, 0.1, 0.4, 1.5])
def test_magnitudes_follow_the_law_of_rice(black, dtype, signal):
    """By scipy's moments; complex images have their black at 0, whatever the setting."""
    stats = pytest.importorskip("scipy.stats")
    corruption = RicianSettings(noise=0.3, black=black).build()
    bottom = 0.0 if dtype.is_complex else black
    images = torch.full((1, 1, 300, 300), bottom + signal, dtype=dtype)
    if dtype.is_complex:
        images *= torch.exp(torch.tensor(0.7j))  # its phase has no say
    for data in (
        corruption.corrupt(images, batch_of(corruption, images), generator(1)).data,
        corruption.measure_image(images[0], "a", generator(2)).data,
    ):
        assert data.dtype == dtype
        magnitude = data.real - bottom if dtype.is_complex else data - bottom
        law = stats.rice(signal / 0.3, scale=0.3)
        assert magnitude.min() >= -1e-6
        assert magnitude.mean().item() == pytest.approx(law.mean(), rel=0.01)
        assert magnitude.var().item() == pytest.approx(law.var(), rel=0.03)


def test_black_stays_black():
    corruption = RicianSettings(noise=0.05).build()
    air = corruption.measure_image(torch.full((1, 64, 64), -1.0), "a", generator()).data
    assert air.mean().item() == pytest.approx(-1 + 0.05 * (torch.pi / 2) ** 0.5, abs=0.002)
    assert air.max() < -0.7
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    head = torch.where(x**2 + y**2 < 0.5, 0.3 * torch.sin(5 * x), -1.0)[None]
    noisy = corruption.measure_image(head, "a", generator()).data[0]
    assert torch.corrcoef(torch.stack([head.flatten(), noisy.flatten()]))[0, 1] > 0.99
    darker = corruption.corrupt(head[None] - 1, batch_of(corruption, head[None]), generator()).data
    assert darker.min() >= -1  # a generator below black is not folded up to grey


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_files_that_are_magnitudes_have_the_law_of_generated_ones(dtype):
    """What training compares: files taken as they are, and corrupted clean images."""
    clean = torch.where(torch.rand(8, 1, 40, 40, generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 0.5)
    clean = torch.polar((clean + 1) / 2, torch.full_like(clean, 0.4)) if dtype.is_complex else clean
    files = batch_of(RicianSettings(noise=0.1).build(), clean).data
    carried = RicianSettings(noise=0.1, simulate=False).build()
    measured = batch_of(carried, files)
    generated = carried.corrupt(clean, measured, generator(99)).data
    assert measured.data.equal(files)
    assert measured.data.dtype == generated.dtype == dtype
    levels = torch.linspace(0.02, 0.98, 25)
    one, other = (torch.quantile((d.real if dtype.is_complex else d).flatten(), levels) for d in (files, generated))
    assert torch.allclose(one, other, atol=0.03)


def test_sinogram_noise_goes_through_the_back_projection():
    corruption = SparseViewSettings(views=12, sinogram_noise=0.05).build()
    images = torch.zeros(2, 1, 16, 16)
    noise = corruption.corrupt(images, batch_of(corruption, images), generator(1)).data
    assert noise.std() > 0
    louder = SparseViewSettings(views=12, sinogram_noise=0.1).build()
    assert relative_error(louder.corrupt(images, batch_of(louder, images), generator(1)).data, 2 * noise) < 1e-5


@pytest.mark.parametrize(
    ("settings", "size", "message"),
    [
        (BlurSettings(), (4, 32), "corruption.side"),
        (MotionBlurSettings(), (32, 3), "corruption.side"),
        (SuperResolutionSettings(factor=4), (30, 32), "corruption.factor"),
        (SparseViewSettings(views=4), (32, 30), "square"),
        (KSpaceMotionSettings(shots=9), (32, 8), "corruption.shots"),
    ],
)
def test_refuses_images_that_do_not_fit(settings, size, message):
    with pytest.raises(ProtocolError, match=message):
        settings.build().measure_image(torch.zeros(1, *size), "a", generator())


def test_refuses_impossible_settings():
    for wrong in (
        lambda: BlurSettings(side=8),
        lambda: MotionBlurSettings(shortest=5, longest=4),
        lambda: InpaintingSettings(missing=1.0),
        lambda: SuperResolutionSettings(factor=3),
        lambda: PoissonSettings(peak=0),
    ):
        with pytest.raises(ValidationError):
            wrong()
    with pytest.raises(ProtocolError, match="complex"):
        PoissonSettings(peak=3).build().measure_image(torch.zeros(1, 8, 8, dtype=torch.complex64), "a", generator())
