import numpy as np
import pytest
import torch

from rsd_med.operators import CentredFourier, CoilMaps, MultiCoilFourier, SamplingMask, fft2c
from rsd_med.operators.centring import centring_phases
from rsd_med.operators.soft_sense import SoftSense, multicoil_fourier
from tests.operators.contracts import TOLERANCE, check_operator, random_maps, random_tensor, relative_error

SIZES = [(8, 6), (7, 9), (6, 5)]


def line_mask(batch, x, seed=8):
    return random_tensor((batch, 1, 1, x), torch.float32, seed) > 0


def few_lines(batch, x):
    """Masks with few columns, in numbers that differ between the items: those of the last one are none."""
    mask = torch.zeros(batch, 1, 1, x, dtype=torch.bool)
    for item in range(batch - 1):
        mask[item, ..., item % 2 :: 3 + item] = True
    return mask


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_coil_maps_owe_what_an_operator_owes(size, coils, dtype):
    check_operator(CoilMaps(random_maps((2, coils, *size), dtype)), (2, 1, *size), (2, coils, *size), dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coils", [1, 4])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("lines", [True, False])
def test_the_scan_owes_what_an_operator_owes(size, coils, dtype, lines):
    mask = random_tensor((2, 1, 1 if lines else size[0], size[1]), torch.float32, 8) > 0
    operator = MultiCoilFourier(mask, random_maps((2, coils, *size), dtype))
    check_operator(operator, (2, 1, *size), (2, coils, *size), dtype)


@pytest.fixture(params=[False, True], ids=["whole", "tiles"])
def cut(request, monkeypatch):
    """Small test data as they are, and cut into many tiles as large data are."""
    if request.param:
        monkeypatch.setattr("rsd_med.operators.tiles.CACHED_ENTRIES", 30)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("size", [*SIZES, (8, 5), (1, 6), (3, 1), (31, 64)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize("pattern", ["plane", "lines", "few lines"])
def test_the_scan_without_shifts_is_the_composition_with_them(size, dtype, pattern):
    masks = {"plane": random_tensor((3, 1, *size), torch.float32, 8) > 0, "lines": line_mask(3, size[1])}
    mask = masks.get(pattern, few_lines(3, size[1]))
    maps = random_maps((3, 3, *size), dtype)
    scan, composed = MultiCoilFourier(mask, maps), SamplingMask(mask) @ CentredFourier() @ CoilMaps(maps)
    x, y = random_tensor((3, 1, *size), dtype, 1), random_tensor((3, 3, *size), dtype, 2)
    for _ in range(2):  # the second time with what the first one kept
        assert relative_error(scan(x), composed(x)) < TOLERANCE[dtype]
        assert relative_error(scan.H(y), composed.H(y)) < TOLERANCE[dtype]
        assert relative_error(scan.normal(x), composed.normal(x)) < TOLERANCE[dtype]


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("size", [(6, 5), (7, 8)])
@pytest.mark.parametrize("lines", [True, False])
def test_neither_tiles_nor_few_lines_change_what_an_operator_owes(lines, size):
    mask = few_lines(3, size[1]) if lines else random_tensor((3, 1, *size), torch.float32, 8) > 0
    scan = MultiCoilFourier(mask, random_maps((3, 4, *size), torch.complex128))
    check_operator(scan, (3, 1, *size), (3, 4, *size), torch.complex128)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("size", [(8, 6), (7, 6), (7, 9)])
@pytest.mark.parametrize("lines", [True, False])
def test_the_scan_works_under_vmap(size, lines):
    mask = few_lines(2, size[1]) if lines else random_tensor((2, 1, *size), torch.float32, 8) > 0
    scan = MultiCoilFourier(mask, random_maps((2, 3, *size), torch.complex128))
    x, y = random_tensor((4, 2, 1, *size), torch.complex128, 1), random_tensor((4, 2, 3, *size), torch.complex128, 2)
    for apply, data in ((scan, x), (scan.H, y), (scan.normal, x)):
        assert relative_error(torch.func.vmap(apply)(data), torch.stack([apply(item) for item in data])) < 1e-14

    def loss(image):
        return scan(image).abs().square().sum() / 2

    assert relative_error(torch.func.vmap(torch.func.grad(loss))(x), torch.func.vmap(scan.normal)(x)) < 1e-12


def test_what_was_kept_in_inference_serves_training():
    centring_phases.cache_clear()
    scan = MultiCoilFourier(line_mask(2, 6), random_maps((2, 3, 8, 6), torch.complex64))
    x = random_tensor((2, 1, 8, 6), torch.complex64, 1)
    with torch.inference_mode():
        expected = scan.normal(x) + scan.H(scan(x))
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scan(leaf).abs().square().sum() + scan.normal(leaf).abs().sum() * 0, leaf)
    assert relative_error(gradient, expected) < 1e-6


@pytest.mark.parametrize("size", [(32, 32), (31, 33), (20, 24)])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_normal_of_line_masks_needs_no_transform_along_y(size, dtype):
    mask, maps = line_mask(3, size[1]), random_maps((3, 4, *size), dtype)
    x = random_tensor((3, 1, *size), dtype, 1)
    along_x = MultiCoilFourier(mask, maps).normal(x)
    in_two_dimensions = MultiCoilFourier(mask.expand(-1, -1, size[0], -1), maps).normal(x)
    assert relative_error(along_x, in_two_dimensions) < 1e-6
    assert relative_error(along_x, MultiCoilFourier(mask, maps).H(MultiCoilFourier(mask, maps)(x))) < 1e-6


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("coils", [1, 4])
def test_agrees_with_sigpy(size, coils):
    sigpy_linop = pytest.importorskip("sigpy.mri.linop")
    mask, maps = line_mask(1, size[1]), random_maps((1, coils, *size), torch.complex64)
    scan = MultiCoilFourier(mask, maps)
    sense = sigpy_linop.Sense(maps[0].numpy(), weights=mask[0].expand(coils, *size).numpy().astype(np.float32))
    x, y = random_tensor((1, 1, *size), torch.complex64, 1), random_tensor((1, coils, *size), torch.complex64, 2)
    assert relative_error(scan(x)[0], torch.from_numpy(sense(x[0, 0].numpy())).to(torch.complex64)) < 1e-6
    assert relative_error(scan.H(y)[0, 0], torch.from_numpy(sense.H(y[0].numpy())).to(torch.complex64)) < 1e-6


def test_fully_sampled_normalised_scan_is_an_isometry():
    maps = random_maps((2, 3, 8, 7), torch.complex128)
    scan = MultiCoilFourier(torch.ones(2, 1, 1, 7, dtype=torch.bool), maps)
    x = random_tensor((2, 1, 8, 7), torch.complex128, 1)
    assert relative_error(scan.H(scan(x)), x) < 1e-14
    assert relative_error(scan.normal(x), x) < 1e-14


def test_single_coil_is_one_map_of_ones():
    mask = line_mask(2, 6)
    scan = MultiCoilFourier(mask, torch.ones(1, 8, 6, dtype=torch.complex64))
    x = random_tensor((2, 1, 8, 6), torch.complex64, 1)
    assert relative_error(scan(x), fft2c(x).masked_fill(~mask, 0)) < 1e-6
    assert scan[1:].maps.shape == (1, 1, 8, 6)


@pytest.mark.usefixtures("cut")
def test_mask_or_maps_without_batch_take_the_batch_of_the_other():
    maps, mask = random_maps((3, 2, 8, 6), torch.complex64), line_mask(3, 6)
    x = random_tensor((3, 1, 8, 6), torch.complex64, 1)
    for scan in (MultiCoilFourier(mask[0], maps), MultiCoilFourier(mask[:1], maps), MultiCoilFourier(mask, maps[0])):
        assert scan.mask.shape == (3, 1, 1, 6)
        assert scan.maps.shape == (3, 2, 8, 6)
        assert relative_error(scan[1:](x[1:]), scan(x)[1:]) < 1e-6
    shared = MultiCoilFourier(mask[0], maps[0])
    assert relative_error(shared(x)[1], shared(x[1])) < 1e-6


@pytest.mark.parametrize(
    "mask", [line_mask(2, 6), few_lines(3, 6)[1:], random_tensor((2, 1, 8, 6), torch.float32, 8) > 0]
)
def test_unsampled_entries_never_reach_the_image(mask):
    scan = MultiCoilFourier(mask, random_maps((2, 2, 8, 6), torch.complex64))
    y = scan(random_tensor((2, 1, 8, 6), torch.complex64, 1))
    assert scan.H(y.masked_fill(~mask, torch.nan)).equal(scan.H(y))
    assert y.masked_select(~mask).count_nonzero() == 0


def test_the_input_is_left_alone():
    mask, maps = line_mask(2, 6), random_maps((2, 2, 8, 6), torch.complex64)
    scan = MultiCoilFourier(mask, maps)
    x, y = random_tensor((2, 1, 8, 6), torch.complex64, 1), random_tensor((2, 2, 8, 6), torch.complex64, 2)
    before = x.clone(), y.clone(), maps.clone(), mask.clone()
    scan(x), scan.H(y), scan.normal(x)
    assert all(now.equal(then) for now, then in zip((x, y, maps, mask), before, strict=True))


@pytest.mark.parametrize(
    ("shape", "method"),
    [((2, 2, 8, 6), "H"), ((3, 3, 8, 6), "H"), ((2, 3, 8, 5), "H"), ((2, 3, 8, 6), "A"), ((1, 1, 8, 6), "A")],
)
def test_refuses_data_that_only_broadcasting_would_fit(shape, method):
    scan = MultiCoilFourier(line_mask(2, 6), random_maps((2, 3, 8, 6), torch.complex64))
    operator = scan if method == "A" else scan.H
    with pytest.raises(ValueError, match="do not fit coil maps"):
        operator(torch.zeros(shape, dtype=torch.complex64))


def test_refuses_masks_and_maps_that_do_not_fit():
    maps = random_maps((2, 3, 8, 6), torch.complex64)
    with pytest.raises(ValueError, match="does not fit"):
        MultiCoilFourier(line_mask(2, 5), maps)
    with pytest.raises(ValueError, match="batches"):
        MultiCoilFourier(line_mask(3, 6), maps)
    with pytest.raises(ValueError, match="complex"):
        CoilMaps(maps.real)
    with pytest.raises(ValueError, match="boolean"):
        MultiCoilFourier(line_mask(2, 6).float(), maps)


# --- several sets of maps -------------------------------------------------------------------------------------------


def sets_of_maps(batch, sets, coils, size, dtype):
    """Maps that are orthonormal at every pixel, as ESPIRiT's eigenvectors are."""
    drawn = random_tensor((batch, *size, coils, sets), dtype, 5)
    return torch.linalg.qr(drawn).Q.permute(0, 4, 3, 1, 2).contiguous()


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize(("size", "sets", "lines"), [((8, 6), 2, True), ((7, 5), 3, False)])
def test_soft_sense_owes_what_an_operator_owes(size, sets, lines):
    mask = few_lines(3, size[1]) if lines else random_tensor((3, 1, *size), torch.float32, 8) > 0
    scan = SoftSense(mask, sets_of_maps(3, sets, 4, size, torch.complex128))
    check_operator(scan, (3, sets, *size), (3, 4, *size), torch.complex128)


@pytest.mark.usefixtures("cut")
@pytest.mark.parametrize("lines", [True, False])
def test_soft_sense_is_the_sum_of_the_scans_of_each_set(lines):
    size, mask = (8, 7), few_lines(2, 7) if lines else random_tensor((2, 1, 8, 7), torch.float32, 8) > 0
    maps = sets_of_maps(2, 2, 4, size, torch.complex128)
    scan, single = SoftSense(mask, maps), [MultiCoilFourier(mask, maps[:, number]) for number in (0, 1)]
    x, y = random_tensor((2, 2, *size), torch.complex128, 1), random_tensor((2, 4, *size), torch.complex128, 2)
    assert relative_error(scan(x), single[0](x[:, :1]) + single[1](x[:, 1:])) < 1e-14
    assert relative_error(scan.H(y), torch.cat([one.H(y) for one in single], 1)) < 1e-14
    assert float(scan.largest_eigenvalue(x).max()) == pytest.approx(1, abs=1e-12)
    apart = scan.apart()(x.reshape(4, 1, *size))
    assert relative_error(apart[0::2] + apart[1::2], scan(x)) < 1e-14
    assert relative_error(scan.with_mask(mask | True)(x), SoftSense(mask | True, maps)(x)) == 0


def test_refuses_sets_and_images_that_do_not_fit():
    maps = sets_of_maps(2, 2, 4, (8, 6), torch.complex64)
    scan = multicoil_fourier(line_mask(2, 6), maps)
    assert isinstance(scan, SoftSense)
    assert type(multicoil_fourier(line_mask(2, 6), maps[:, 0])) is MultiCoilFourier
    with pytest.raises(ValueError, match="do not fit coil maps"):
        scan(torch.zeros(2, 1, 8, 6, dtype=torch.complex64))
    with pytest.raises(ValueError, match="Sets of coil maps"):
        SoftSense(line_mask(2, 6), maps[0, 0])
