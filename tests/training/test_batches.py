"""The order of batches: every item each epoch, shapes never mixed, nothing to restore."""

from collections import Counter

import pytest
import torch

from rsd_med.training.batches import BatchOrder, load_batch
from tests.training.toys import Kept, pictures

GROUPS = {(2, 8, 8): [0, 2, 4, 6, 8, 10, 12], (4, 8, 8): [1, 3, 5], (2, 16, 8): [7, 9, 11, 13]}


def order(batch_size=3, seed=0, purpose="teacher/order", groups=GROUPS):
    return BatchOrder(groups, batch_size, seed, purpose)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 20])
def test_every_item_is_met_in_each_epoch_and_few_of_them_again(batch_size):
    batches = order(batch_size)
    for epoch in range(3):
        first = epoch * batches.batches_per_epoch
        met = Counter(index for place in range(batches.batches_per_epoch) for index in batches[first + place])
        assert set(met) == set(range(14))
        assert met.total() == batches.batches_per_epoch * batch_size
        assert met.total() < 14 + batch_size * len(GROUPS)


@pytest.mark.parametrize("batch_size", [2, 3, 20])
def test_a_batch_holds_one_shape_and_is_full(batch_size):
    batches = order(batch_size)
    for number in range(2 * batches.batches_per_epoch):
        batch = batches[number]
        assert len(batch) == batch_size
        assert sum(set(batch) <= set(group) for group in GROUPS.values()) == 1


def test_within_a_batch_no_item_comes_twice_where_its_group_is_large_enough():
    batches = order(3)
    assert all(len(set(batches[number])) == 3 for number in range(30))


def test_the_order_is_a_function_of_seed_purpose_and_number():
    numbers = list(range(40))
    expected = [order()[number] for number in numbers]
    backwards = order()
    assert [backwards[number] for number in reversed(numbers)] == expected[::-1]  # no state
    assert [order(seed=1)[number] for number in numbers] != expected
    assert [order(purpose="student/order")[number] for number in numbers] != expected
    epochs = [[tuple(expected[6 * epoch + place]) for place in range(6)] for epoch in range(2)]
    assert order().batches_per_epoch == 6
    assert epochs[0] != epochs[1]


def test_the_global_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    order()[17]
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_batch_is_loaded_in_its_order():
    batch = load_batch(Kept(pictures(5)), [3, 0, 3], torch.device("cpu"))
    assert batch.ids == ("picture 3", "picture 0", "picture 3")
    assert batch.data.shape == (3, 1, 4, 4)
    assert torch.equal(batch.data[0], batch.data[2])
