"""Derived randomness: the same for the same purpose and item, anywhere, in all parts of a batch."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import derive_seed, generator_for


def test_a_draw_depends_on_seed_purpose_and_item_only():
    def draw(*key):
        return torch.randn(4, generator=generator_for(*key))

    torch.testing.assert_close(draw(1, "corruption", "a"), draw(1, "corruption", "a"), rtol=0, atol=0)
    others = [
        (2, "corruption", "a"),
        (1, "latents", "a"),
        (1, "corruption", "b"),
        (1, "corruption"),
        (1, "corruption", "a", 0),
    ]
    for other in others:
        assert not torch.equal(draw(1, "corruption", "a"), draw(*other))


def test_parts_of_a_key_do_not_run_together():
    assert derive_seed(1, "a", "bc") != derive_seed(1, "ab", "c")
    assert derive_seed(1, "a", 12) != derive_seed(1, "a", 1, 2)


def test_seeds_are_the_same_in_every_process():
    program = "from rsd_med.base.randomness import derive_seed; print(derive_seed(7, 'corruption', 'file.h5', 3))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(shown.stdout) == derive_seed(7, "corruption", "file.h5", 3)
    assert 0 <= int(shown.stdout) < 2**63


def test_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    torch.randn(8, generator=generator_for(1, "noise"))
    assert torch.equal(before, torch.get_rng_state())


def draws(seed=0):
    return Draws().manual_seed(seed)


MEANS = torch.rand(6, 5, generator=draws(9)) * 40
KINDS = {
    "normal": lambda source, part: source.normal(len(part), 3, 2),
    "normal, double": lambda source, part: source.normal(len(part), dtype=torch.float64),
    "uniform": lambda source, part: source.uniform(len(part), 5),
    "uniform, double": lambda source, part: source.uniform(len(part), dtype=torch.float64),
    "integers": lambda source, part: source.integers(7, len(part), 2),
    "poisson": lambda source, part: source.poisson(MEANS[part]),
}


@pytest.mark.parametrize("count", [1, 2, 3, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_of_a_draw_are_the_draw(kind, count):
    draw, everyone, source = KINDS[kind], torch.arange(6), draws()
    whole = draw(source, everyone)
    parts = []
    for index, part in enumerate(everyone.chunk(count)):
        own = draws()
        with own.part(index, count, len(part), watched=index == 0):
            parts.append(draw(own, part))
        assert torch.equal(own.get_state(), source.get_state())  # and what is drawn next is the same too
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("count", [2, 3])
def test_every_part_knows_the_order_of_the_whole_batch(count):
    own, items = draws(), 6 // count
    with own.part(1, count, items):
        assert torch.equal(own.permutations(items).flatten(), draws().permutations(6)[0])


def test_draws_go_back_to_a_mark():
    source = draws()
    mark = source.mark()
    first = source.normal(4), source.host.uniform(3)
    source.rewind(mark)
    for one, other in zip(first, (source.normal(4), source.host.uniform(3)), strict=True):
        assert torch.equal(one, other)


def test_the_whole_draws_what_torch_draws():
    assert torch.equal(draws().normal(4, 3), torch.randn(4, 3, generator=draws()))
    assert torch.equal(draws().uniform(4, 3), torch.rand(4, 3, generator=draws()))
    assert torch.equal(draws().integers(9, 4), torch.randint(9, (4,), generator=draws()))
    assert torch.equal(draws().permutations(4)[0], torch.randperm(4, generator=draws()))


@pytest.mark.parametrize("mean", [0.0, 0.4, 7.0, 9.9, 30.0, 900.0])
def test_counts_follow_poissons_law(mean):
    """Chi-square against the law itself, over all items together; and the items are independent of one another."""
    counts = draws(3).poisson(torch.full((200, 100), mean)).numpy()
    if mean == 0:
        assert not counts.any()
        return
    edges = np.unique(stats.poisson.ppf(np.linspace(0.02, 0.98, 25), mean))  # bins of enough counts each
    expected = np.diff(stats.poisson.cdf(np.concatenate([[-1], edges, [np.inf]]), mean)) * counts.size
    observed = np.histogram(counts, np.concatenate([[-0.5], edges + 0.5, [np.inf]]))[0]
    assert stats.chisquare(observed, expected).pvalue > 1e-3
    across = np.corrcoef(counts)[np.triu_indices(len(counts), 1)]  # 19,900 correlations of 100 pairs of numbers
    assert across.std() == pytest.approx(0.1, rel=0.05)
    assert abs(across.mean()) < 0.005


STRANGERS = {
    "a tensor filled in place": lambda source: torch.empty(3).normal_(generator=source),
    "numbers from the generator": lambda source: torch.randn(3, generator=source),
    "numbers from a generator of one's own": lambda source: torch.rand(3, generator=torch.Generator().manual_seed(1)),
    "counts": lambda source: torch.poisson(torch.ones(3), source),
    "coins": lambda source: torch.bernoulli(torch.full((3,), 0.5), generator=source),
    "normal numbers of a mean": lambda source: torch.normal(torch.zeros(3), 1.0, generator=source),
    "the global generator": lambda source: torch.randn(3),
    "the global generator, in place": lambda source: torch.empty(3).uniform_(),
    "numbers like others": lambda source: torch.rand_like(torch.ones(3)),
    "dropout": lambda source: torch.nn.functional.dropout(torch.ones(3)),
    "a layer of dropout": lambda source: torch.nn.Dropout(0.5)(torch.ones(3)),
    "numpy's numbers": lambda source: np.random.standard_normal(3),  # noqa: NPY002
    "Python's numbers": lambda source: random.random(),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_nothing_else_draws_in_a_part(stranger):
    source = draws()
    with torch.random.fork_rng(), pytest.raises(RuntimeError, match="ask the Draws"), source.part(0, 2, 3):
        STRANGERS[stranger](source)
    source.manual_seed(0)
    assert torch.equal(source.normal(4), torch.randn(4, generator=draws()))  # outside, all is as before


def test_a_part_of_a_part_leaves_the_part_as_it_was():
    source, whole = draws(), torch.randn(6, generator=draws())
    with source.part(1, 2, 3):
        with source.part(0, 2, 3):
            source.normal(3)
        source.manual_seed(0)
        assert torch.equal(source.normal(3), whole[3:])


def test_a_part_draws_for_its_own_number_of_items():
    source = draws()
    with source.part(0, 2, 3), pytest.raises(ValueError, match="A part of 3 items draws for each of them, not for 2"):
        source.uniform(2, 3)
