"""The trial of ways to compute a network: what is tried, what is kept, and that nothing else is touched."""

import json
import math
from itertools import count

import pytest
import torch
from torch import nn

from rsd_med.base.errors import DataError
from rsd_med.diffusion.compute import ComputeOptions
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.training import autotune
from rsd_med.training.autotune import (
    Trial,
    candidates,
    compiled,
    fastest,
    load_autotune,
    save_autotune,
    supported,
    try_each,
)
from rsd_med.training.settings import EngineSettings

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PLAIN = ComputeOptions()
INNER = ComputeOptions(memory_format="channels_last")
LOW = ComputeOptions(precision="bfloat16")


@pytest.fixture
def bfloat16(monkeypatch):
    monkeypatch.setattr(autotune, "has_bfloat16", lambda device: True)


def network() -> Denoiser:
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1)

        def forward(self, x, label):
            return self.conv(x) * label.reshape(-1, 1, 1, 1)

    return Denoiser(Small())


def test_what_the_protocol_leaves_open_is_tried_and_the_plainest_comes_first(bfloat16):
    found = candidates("auto", EngineSettings(), CPU)
    assert found == [PLAIN, INNER, LOW, ComputeOptions(precision="bfloat16", memory_format="channels_last")]


def test_what_the_protocol_says_is_done(bfloat16):
    engine = EngineSettings(memory_format="channels_last", compile=False)
    assert candidates("float32", engine, CPU) == [INNER] == [supported("float32", engine, CPU)]
    assert candidates("bfloat16", EngineSettings(compile=True, memory_format="contiguous"), CPU) == [
        ComputeOptions(precision="bfloat16", compile=True)
    ]


def test_bfloat16_is_tried_where_the_processor_has_it_alone(monkeypatch):
    monkeypatch.setattr(autotune, "has_bfloat16", lambda device: False)
    assert candidates("auto", EngineSettings(), CPU) == [PLAIN, INNER]
    assert supported("auto", EngineSettings(), CPU) == PLAIN


def test_the_fastest_is_kept_and_the_plain_one_unless_it_is_clearly_slower():
    assert fastest([Trial(PLAIN, 1.0), Trial(INNER, 0.5), Trial(LOW, 0.7)]) == INNER
    assert fastest([Trial(PLAIN, 1.0), Trial(INNER, 0.98), Trial(LOW, 0.99)]) == PLAIN
    assert fastest([Trial(PLAIN, math.inf), Trial(INNER, 2.0)]) == INNER
    assert fastest([Trial(PLAIN, math.inf)]) == PLAIN


def test_compiling_is_tried_on_a_gpu_in_a_run_of_hours_alone():
    trials = [Trial(PLAIN, 1.0), Trial(LOW, 0.5)]
    expected = [ComputeOptions(precision="bfloat16", compile=True)]
    assert compiled(trials, EngineSettings(), GPU, steps=20_000) == expected
    assert compiled(trials, EngineSettings(), GPU, steps=2_000) == []
    assert compiled(trials, EngineSettings(compile=False), GPU, steps=20_000) == []
    assert compiled(trials, EngineSettings(), CPU, steps=20_000) == []


def test_a_trial_finds_the_faster_way_and_touches_nothing_else(monkeypatch):
    """By a clock that each pass of a network moves on: by more in one way than in the other."""
    now = [0.0]
    denoiser = network()
    before = {name: weight.clone() for name, weight in denoiser.state_dict().items()}
    image, context = torch.randn(2, 2, 4, 4), torch.ones(2, 1, 4, 4)
    state = torch.random.get_rng_state()
    passes = count()

    def cost(module, given):
        now[0] += 1.0 if denoiser.compute_options == INNER else 2.0
        next(passes)

    denoiser.network.register_forward_pre_hook(cost)
    monkeypatch.setattr(autotune.time, "perf_counter", lambda: now[0])
    trials = try_each([PLAIN, INNER], denoiser, image, context)
    assert trials == [Trial(PLAIN, 6.0), Trial(INNER, 3.0)]
    assert fastest(trials) == INNER
    # Warmed up and timed once; then, in turn, until the time is over.
    assert next(passes) == 3 * 2 * 2 + 3 * 2 * 2
    after = denoiser.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in denoiser.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_way_that_is_not_open_here_is_left_out(monkeypatch):
    denoiser = network()

    def refuse(module, given):
        if denoiser.compute_options == LOW:
            raise RuntimeError("no compiler")

    denoiser.network.register_forward_pre_hook(refuse)
    monkeypatch.setattr(autotune, "ROUNDS", 1)
    trials = try_each([PLAIN, LOW], denoiser, torch.randn(2, 2, 4, 4), torch.ones(2, 1, 4, 4))
    assert math.isfinite(trials[0].seconds)
    assert trials[1].seconds == math.inf


def test_what_was_found_comes_back_on_the_same_kind_of_device(tmp_path):
    path = tmp_path / "autotune.json"
    assert load_autotune(path, CPU) is None
    save_autotune(path, CPU, INNER, [Trial(PLAIN, 1.0), Trial(INNER, 0.5), Trial(LOW, math.inf)])
    assert load_autotune(path, CPU) == INNER
    assert load_autotune(path, GPU) is None
    assert [tried["seconds"] for tried in json.loads(path.read_text())["tried"]] == [1.0, 0.5, None]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"device": "cpu", "chosen": {"precision": "int8"}}', "\x00"])
def test_a_damaged_record_is_named(tmp_path, content):
    path = tmp_path / "autotune.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"autotune\.json"):
        load_autotune(path, CPU)
