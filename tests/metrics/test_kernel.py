import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.metrics.kernel import kernel_distance
from tests.metrics.damage import generator


def sets(n: int = 12, m: int = 9, dimension: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    a = torch.randn(n, dimension, generator=generator(1), dtype=torch.float64)
    return a, 0.5 + torch.randn(m, dimension, generator=generator(2), dtype=torch.float64)


def test_equals_the_sums_written_out():
    a, b = sets()

    def k(x, y):
        return (float(x @ y) / 5 + 1) ** 3

    within_a = sum(k(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j) / (12 * 11)
    within_b = sum(k(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j) / (9 * 8)
    across = sum(k(x, y) for x in a for y in b) / (12 * 9)
    assert kernel_distance(a, b) == pytest.approx(within_a + within_b - 2 * across, rel=1e-12)


def test_agrees_with_torchmetrics():
    kid = pytest.importorskip("torchmetrics.image.kid")
    a, b = sets(40, 40)
    assert kernel_distance(a, b) == pytest.approx(float(kid.poly_mmd(a, b)), rel=1e-9)


def test_unbiased_for_equal_distributions():
    drawn = generator(3)
    values = torch.tensor(
        [kernel_distance(*torch.randn(2, 30, 4, generator=drawn, dtype=torch.float64).unbind(0)) for _ in range(200)]
    )
    assert abs(values.mean()) < 3 * values.std() / 200**0.5
    assert (values < 0).any()


def test_subsets_follow_the_generator():
    a, b = sets(60, 50)
    first, again, other = (
        kernel_distance(a, b, subsets=5, subset_size=20, generator=generator(seed)) for seed in (4, 4, 5)
    )
    assert first == again != other
    whole = kernel_distance(a, b, subsets=3, subset_size=1000, generator=generator(4))
    assert whole == pytest.approx(kernel_distance(a, b), rel=0.5)
    with pytest.raises(ValueError, match="generator"):
        kernel_distance(a, b, subsets=5)


def test_what_cannot_be_compared_is_refused():
    a, b = sets()
    with pytest.raises(DataError, match="at least 2 images"):
        kernel_distance(a[:1], b)
    with pytest.raises(DataError, match="cannot be compared"):
        kernel_distance(a, b[:, :3])
