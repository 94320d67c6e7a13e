"""Compiled networks are whole graphs, and a run compiles nothing after its first steps.

torch traces as it would for a GPU; the graphs are then carried out as they are, without a compiler.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from benchmarks import graphs
from benchmarks.costs import DOCUMENT, table
from rsd_med.base.randomness import generator_for
from rsd_med.training.batches import load_batch
from tests.published import DIFFERENT, published

PROTOCOLS = {"ddpmpp": "knee_R4", "monai_unet": "nifti_small"}
"""A protocol for each network of the published ones."""

VARIANTS = 5
"""Of one network: it learns, it is asked with and without a gradient to its input, its weights rest or not."""


def figures(folder, name, *overrides):
    """Return what two steps of the student tell, in two passes each; its fake score learns as a teacher does."""
    experiment = published(name, folder, "diffusion.precision=float32", "engine.micro_batch=2", *overrides)
    stage = experiment.student_stage(experiment.build_denoiser())
    batch = load_batch(experiment.dataset, experiment.main_group[:4], experiment.device)
    for number in range(2):
        answer = stage.step(batch, 4 * number, generator_for(0, "step", number))
        yield {key: float(value) for key, value in answer.items()}


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch asks its own tracer's tensors for it
@pytest.mark.parametrize("network", PROTOCOLS)
def test_networks_of_published_protocols_are_one_graph_and_are_compiled_once(tmp_path, monkeypatch, network):
    """fullgraph: a break is an error. Of each variant one graph, although four networks share the code."""
    from torch._dynamo.testing import CompileCounter
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    counter = CompileCounter()
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, mode=None, **options: partial(real, backend=counter)(f, **options))
    compiled, graphs = [], []
    for answer in figures(tmp_path, PROTOCOLS[network], "engine.compile=true"):
        compiled.append(answer)
        graphs.append(counter.frame_count)
    assert 0 < graphs[-1] <= VARIANTS
    assert graphs[0] == graphs[1]
    assert not counters["graph_break"]
    assert not counters["unimplemented"]
    eager = list(figures(tmp_path, PROTOCOLS[network], "engine.compile=false"))
    for one, other in zip(compiled, eager, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_objective_and_student_loss_are_one_graph_of_the_same_bits(tmp_path):
    """Those of k-space, in a process without the checks of shapes that tests put around functions."""
    command = [sys.executable, "-m", "tests.traced", "quickstart", tmp_path]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_document_tells_of_every_published_protocol_what_tests_ask_for():
    """test_steps.py asks all kinds of them for no wait; one graph is asked for above."""
    before, after = graphs.MARKS
    lines = DOCUMENT.read_text(encoding="utf-8").partition(before)[2].partition(after)[0].strip().splitlines()
    counted = {"waits": [0, 0], "graphs": [1, 1, 1]}
    expected = table(graphs.HEADING, [graphs.row(name, counted) for name in DIFFERENT])
    assert "\n".join(lines) == expected, "python -m benchmarks.graphs --write"


def test_reduce_overhead_is_handed_to_the_compiler(tmp_path, monkeypatch):
    asked = []

    def noted(function, **options):
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", noted)
    next(figures(tmp_path, "nifti_small", "engine.compile=reduce-overhead"))
    assert len(asked) == 3  # generator, teacher and fake score
    assert all(options == {"fullgraph": True, "mode": "reduce-overhead"} for options in asked)
