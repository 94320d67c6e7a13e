import pickle

import numpy as np

from rsd_med.data.recent import RecentArrays


def test_only_the_last_used_arrays_are_kept():
    reads = []

    def read(key):
        return lambda: reads.append(key) or np.zeros(10, dtype=np.uint8)

    recent = RecentArrays(budget_bytes=20)
    for key in "abacab":
        recent.get(key, read(key))
    assert reads == ["a", "b", "c", "b"]


def test_an_array_larger_than_the_budget_is_kept_alone():
    recent = RecentArrays(budget_bytes=1)
    array = recent.get("a", lambda: np.zeros(100))
    assert recent.get("a", lambda: np.ones(100)) is array


def test_a_copy_starts_empty():
    recent = RecentArrays(budget_bytes=1000)
    recent.get("a", lambda: np.zeros(100))
    assert len(pickle.dumps(recent)) < 300
    assert pickle.loads(pickle.dumps(recent)).get("a", lambda: np.ones(1)) == 1
