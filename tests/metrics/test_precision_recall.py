"""Precision, recall, density and coverage: by hand, by another's neighbours, and by what theory expects."""

import math

import pytest
import torch
from torch import Tensor

from rsd_med.base.errors import DataError
from rsd_med.metrics import neighbours
from rsd_med.metrics.density_coverage import density_coverage
from rsd_med.metrics.neighbours import hold, neighbour_radii
from rsd_med.metrics.precision_recall import precision_recall
from tests.metrics.damage import generator


def line(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def normal(count: int, dimension: int, seed: int) -> Tensor:
    return torch.randn(count, dimension, generator=generator(seed), dtype=torch.float64)


# With k = 1 the balls of the reference are [-10, 0], [-1, 1], [0, 2], [1, 3], [2, 16], those of the samples
# [-0.5, 1.5], [0.5, 2.5], [1.5, 58.5].
REFERENCE, SAMPLES = line(-5, 0, 1, 2, 9), line(0.5, 1.5, 30)


def test_on_a_line_by_hand():
    assert neighbour_radii(REFERENCE, 1).tolist() == pytest.approx([5, 1, 1, 1, 7])
    assert neighbour_radii(REFERENCE, 2).tolist() == pytest.approx([6, 2, 1, 2, 8])
    held = hold(SAMPLES, REFERENCE, neighbour_radii(REFERENCE, 1))
    assert held.balls_per_point.tolist() == [2, 2, 0]
    assert held.points_per_ball.tolist() == [0, 1, 2, 1, 0]
    assert precision_recall(SAMPLES, REFERENCE, k=1) == pytest.approx((2 / 3, 4 / 5))
    assert density_coverage(SAMPLES, REFERENCE, k=1) == pytest.approx((4 / 3, 3 / 5))


@pytest.mark.parametrize(("count", "others", "dimension", "size"), [(300, 500, 3, 1.0), (240, 200, 24, 0.8)])
def test_a_tree_finds_the_same(count, others, dimension, size):
    tree = pytest.importorskip("scipy.spatial").cKDTree
    samples, reference = size * normal(count, dimension, 1) + 0.3, normal(others, dimension, 2)

    def radii(points: Tensor, k: int) -> list[float]:
        return tree(points).query(points, k + 1)[0][:, -1].tolist()

    def lists(points: Tensor, centres: Tensor, k: int) -> list[list[int]]:
        return tree(points).query_ball_point(centres, radii(centres, k)).tolist()

    def inside(points: Tensor, centres: Tensor) -> float:
        return len({point for found in lists(points, centres, 3) for point in found}) / len(points)

    assert neighbour_radii(samples, 4).tolist() == pytest.approx(radii(samples, 4), rel=1e-9)
    found = precision_recall(samples, reference)
    assert found == pytest.approx((inside(samples, reference), inside(reference, samples)))
    assert 0.1 < min(found) < max(found) < 1
    held = lists(samples, reference, 5)
    expected = sum(map(len, held)) / (5 * count), sum(map(bool, held)) / others
    assert density_coverage(samples, reference) == pytest.approx(expected)


def test_two_draws_of_one_law_have_the_expected_density_and_coverage():
    """E[coverage] = 1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k)) for N reference images and M samples, whatever the law."""
    k, reference, samples = 5, 200, 120
    found = [density_coverage(normal(samples, 4, seed), normal(reference, 4, 1000 + seed), k) for seed in range(40)]
    density, coverage = (torch.tensor(column).mean().item() for column in zip(*found, strict=True))
    missed = math.prod((reference - i) / (samples + reference - i) for i in range(1, k + 1))
    assert coverage == pytest.approx(1 - missed, abs=0.01)
    assert density == pytest.approx(1, abs=0.05)


def test_a_generator_that_drops_a_mode_loses_recall_and_coverage_alone():
    modes = 20 * torch.eye(4, dtype=torch.float64)
    reference = normal(400, 4, 3) + modes.repeat(100, 1)
    samples = normal(300, 4, 4) + modes[:3].repeat(100, 1)
    precision, recall = precision_recall(samples, reference)
    density, coverage = density_coverage(samples, reference)
    assert precision > 0.85
    assert recall == pytest.approx(0.75, abs=0.1)
    assert density > 0.85
    assert coverage == pytest.approx(0.75, abs=0.06)


def test_a_generator_of_noise_loses_precision_and_density_and_spoils_recall():
    reference, samples = normal(400, 4, 5), 6 * normal(400, 4, 6)
    precision, recall = precision_recall(samples, reference)
    density, coverage = density_coverage(samples, reference)
    assert precision < 0.1
    assert density < 0.1
    # Known of recall: the wide balls of scattered samples hold all that is real. Coverage is not deceived.
    assert recall > 0.9
    assert coverage < 0.3


def test_copies_and_equal_images_are_told_by_position_alone():
    reference = normal(50, 8, 7)
    assert precision_recall(reference, reference) == (1, 1)
    # Each ball holds its own centre and k neighbours: none is lost to rounding at the rim.
    assert density_coverage(reference, reference, 5) == pytest.approx((6 / 5, 1))
    assert density_coverage(reference + 1e4, reference + 1e4, 5) == pytest.approx((6 / 5, 1))
    collapsed = reference[:1].expand(50, -1)
    assert precision_recall(collapsed, reference) == pytest.approx((1, 1 / 50))
    assert density_coverage(collapsed, collapsed, 5) == pytest.approx((10, 1))


def test_blocks_change_nothing(monkeypatch):
    samples, reference = normal(70, 6, 8), normal(90, 6, 9)
    whole = precision_recall(samples, reference), density_coverage(samples, reference)
    monkeypatch.setattr(neighbours, "PAIRS_AT_ONCE", 500)
    assert (precision_recall(samples, reference), density_coverage(samples, reference)) == whole


def test_what_cannot_be_compared_is_refused():
    reference = normal(10, 3, 10)
    with pytest.raises(DataError, match="at least 4 images and there are 3"):
        precision_recall(reference[:3], reference)
    with pytest.raises(DataError, match="at least 6 images and there are 5"):
        density_coverage(reference, reference[:5])
    with pytest.raises(DataError, match=r"\(10, 2\) and \(10, 3\) cannot be compared"):
        density_coverage(reference[:, :2], reference)
    with pytest.raises(DataError, match="NaN or infinity"):
        precision_recall(reference / 0, reference)
