"""The script for a slot on a GPU, tried where there is none: it has to work the first time."""

import json

import pytest

from benchmarks import gpu


@pytest.fixture
def one_step(monkeypatch):
    monkeypatch.setattr(gpu, "WARM_UP", 1)
    monkeypatch.setattr(gpu, "STEPS", 1)


def test_it_times_the_product_and_plain_code_and_goes_on_where_a_way_is_not_open(tmp_path, monkeypatch, one_step):
    broken = gpu.Way("a wish", ("teacher.batch_size=5", "engine.micro_batch=2"))
    ways = [("cifar10_noise0.2", "teacher", way) for way in (gpu.WAYS[0], gpu.WAYS[2], broken)]
    ways.append(("knee_R4", "student", gpu.WAYS[0]))
    monkeypatch.setattr(gpu, "plan", lambda: iter(ways))
    assert gpu.main(["--tiny", "--out", str(tmp_path / "gpu.json")]) == 0
    results = json.loads((tmp_path / "gpu.json").read_text())
    product, plain, wish, knees = results["rows"]
    for row in (product, plain, knees):
        assert row["images_per_second"] > 0
        assert row["flops_per_second"] > row["images_per_second"] * 1e5
    assert "engine.micro_batch" in wish["failed"]
    assert results["tiny"]


def test_what_the_slot_has_no_time_for_is_named(tmp_path, capsys):
    assert gpu.main(["--minutes", "0", "--tiny", "--out", str(tmp_path / "gpu.json")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(list(gpu.plan()))
    assert all(line.endswith("left out, the time was up") for line in told)


def test_the_most_telling_ways_come_first_and_every_protocol_is_among_them():
    names = [(name, stage) for name, stage, _ in gpu.plan()]
    assert len(set(names[:4])) == 4
