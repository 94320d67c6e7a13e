import pytest
import torch

from rsd_med.operators import SamplingMask
from tests.operators.contracts import check_operator, random_tensor


@pytest.mark.parametrize("mask_shape", [(2, 1, 1, 5), (2, 1, 6, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_the_operator_owes_what_an_operator_owes(mask_shape, dtype):
    mask = random_tensor(mask_shape, torch.float32, 8) > 0
    check_operator(SamplingMask(mask), (2, 3, 6, 5), (2, 3, 6, 5), dtype)


def test_a_mask_without_batch_serves_every_item():
    mask = torch.tensor([True, False, True])[None, None]
    x = random_tensor((4, 2, 3, 3), torch.complex64, 1)
    assert SamplingMask(mask)[:2](x).equal(x * mask)


def test_nothing_unmeasured_leaks_not_even_nan():
    mask = torch.tensor([True, False, True])[None, None]
    x = torch.full((1, 1, 3, 3), torch.nan)
    x[..., mask[0, 0]] = 1.0
    sampled = SamplingMask(mask)(x)
    assert sampled[..., 1].count_nonzero() == 0
    assert not sampled.signbit().any()
    assert sampled.isfinite().all()


def test_refuses_masks_and_data_that_do_not_fit():
    with pytest.raises(ValueError, match="boolean"):
        SamplingMask(torch.ones(1, 1, 5))
    with pytest.raises(ValueError, match="boolean"):
        SamplingMask(torch.ones(5, dtype=torch.bool))
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    for shape in ((2, 1, 6, 4), (3, 1, 6, 5), (1, 1, 6, 5)):
        with pytest.raises(ValueError, match="do not fit"):
            SamplingMask(mask)(torch.zeros(shape))
