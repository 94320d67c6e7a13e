"""The energy score against its definition, against scipy, and at the law that makes it least."""

import pytest
import torch

from rsd_med.metrics.energy_score import PATCH, energy_score
from rsd_med.operators.mri import MultiCoilFourier

SORTS = ("entries", "columns", "pixels", "patches", "image")


def scan(items: int = 2, coils: int = 3, size: int = 8) -> MultiCoilFourier:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(items, coils, size, size, dtype=torch.complex64, generator=generator)
    mask = torch.zeros(items, 1, 1, size, dtype=torch.bool)
    mask[0, ..., ::3] = True
    mask[1:, ..., ::2] = True
    return MultiCoilFourier(mask, maps)


def groups_by_hand(gap: torch.Tensor, operator: MultiCoilFourier, item: int, sort: str) -> list[torch.Tensor]:
    """Return the vectors of one item's gap ``(coil, y, x)``."""
    mask = operator.mask[item, 0, 0]
    if sort == "entries":
        return [gap[:, y, x] for y in range(gap.shape[1]) for x in torch.nonzero(mask)[:, 0]]
    if sort == "columns":
        return [gap[:, :, x] for x in torch.nonzero(mask)[:, 0]]
    image = operator[item : item + 1].H(gap[None])[0, 0]
    side = {"pixels": 1, "patches": PATCH, "image": len(image)}[sort]
    blocks = image.unfold(0, side, side).unfold(1, side, side)
    return list(blocks.reshape(-1, side * side))


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_its_definition(sort, count):
    operator = scan()
    generator = torch.Generator().manual_seed(2)
    data = torch.randn(2, 3, 8, 8, dtype=torch.complex64, generator=generator) * operator.mask
    draws = torch.randn(2, count, 3, 8, 8, dtype=torch.complex64, generator=generator) * operator.mask[:, None]
    answer = energy_score(draws, data, operator, (sort,))
    for item in range(2):

        def length(gap, item=item):
            # "entries" are divided by nothing but the root of their numbers' share: one entry of all coils.
            vectors = groups_by_hand(gap, operator, item, sort)
            unit = {"entries": 1, "columns": 8, "pixels": 1, "patches": PATCH**2, "image": 64}[sort]
            return torch.stack([vector.norm() / unit**0.5 for vector in vectors]).mean()

        far = sum(length(draws[item, i] - data[item]) for i in range(count)) / count
        pairs = [length(draws[item, i] - draws[item, j]) for i in range(count) for j in range(i)]
        near = sum(pairs) / len(pairs) / 2 if pairs else 0.0
        assert float(answer[item]) == pytest.approx(float(far - near), rel=1e-4)


def test_it_equals_scipys_energy_distance_of_one_number():
    """Of data with one number each, twice the mean score is the squared energy distance and the data's own spread."""
    from scipy.stats import energy_distance

    maps = torch.ones(400, 1, 1, 1, dtype=torch.complex64)
    operator = MultiCoilFourier(torch.ones(400, 1, 1, 1, dtype=torch.bool), maps)
    generator = torch.Generator().manual_seed(3)
    data = torch.randn(400, generator=generator)
    draws = 0.5 + 2 * torch.randn(400, generator=generator)
    # Every draw with every datum: 400 items, each compared with all draws.
    every = draws.reshape(1, 400, 1, 1, 1).expand(400, 400, 1, 1, 1).to(torch.complex64)
    far = (every[..., 0, 0, 0].real - data[:, None]).abs().mean()
    score = energy_score(every[:, :40], data.reshape(-1, 1, 1, 1).to(torch.complex64), operator, ("entries",)).mean()
    own = (data[:, None] - data).abs().sum() / (400 * 400)
    of_draws = (draws[:40, None] - draws[:40]).abs().sum() / (40 * 39)
    far = (draws[:40, None] - data).abs().mean()
    assert float(score) == pytest.approx(float(far - of_draws / 2), rel=1e-4)
    biased = (draws[:40, None] - draws[:40]).abs().mean()
    distance = energy_distance(data.numpy(), draws[:40].numpy()) ** 2
    assert float(2 * far - biased - own) == pytest.approx(distance, rel=1e-3)


def test_the_true_law_has_the_least_score():
    """Too narrow and too wide a law score worse; so does the right law with another mean."""
    items = 4000
    maps = torch.ones(items, 1, 1, 2, dtype=torch.complex64) / 1
    operator = MultiCoilFourier(torch.ones(items, 1, 1, 2, dtype=torch.bool), maps)
    generator = torch.Generator().manual_seed(4)

    def score(std: float, shift: float = 0.0) -> float:
        own = torch.Generator().manual_seed(5)
        draws = std * torch.randn(items, 2, 1, 1, 2, dtype=torch.complex64, generator=own) + shift
        return float(energy_score(draws, data, operator, ("entries",)).mean())

    data = torch.randn(items, 1, 1, 2, dtype=torch.complex64, generator=generator)
    best = score(1.0)
    assert all(best < other for other in (score(0.6), score(1.5), score(1.0, 0.5)))
