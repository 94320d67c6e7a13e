"""Compiled networks are whole graphs, and a run compiles nothing after its first steps.

torch traces as it would for a GPU; the graphs are then carried out as they are, without a compiler.
"""

import inspect
from functools import partial

import jaxtyping
import pytest
import torch
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters

from benchmarks import graphs
from benchmarks.costs import DOCUMENT, table
from rsd_med.base.randomness import generator_for
from rsd_med.operators.differentiation import TracedApply
from rsd_med.training.batches import load_batch
from tests.published import DIFFERENT, published
from tests.traced import parts

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


@pytest.mark.filterwarnings("ignore:(?s)Dynamo detected a call to a `functools.lru_cache`")
@pytest.mark.parametrize("name", ["celebahq64_inpaint0.6", "quickstart"])
def test_objective_and_student_loss_are_one_graph_of_the_same_bits(tmp_path, monkeypatch, name):
    """A mask of pixels and k-space: others add noise alone. Operators are traced too, forwards and backwards.

    Without the checks of shapes that tests put around functions, which are no part of the program.
    """
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for method in ("forward", "setup_context", "backward"):
        monkeypatch.setattr(TracedApply, method, staticmethod(inspect.unwrap(getattr(TracedApply, method))))
    for part in parts(name, tmp_path):
        torch._dynamo.reset()
        compiled = torch.compile(part.traced, backend="eager", fullgraph=True)
        answers = [ask(part.tape) for ask in (part.traced, compiled)]
        gradients = [torch.autograd.grad(answer.sum(), part.learning) for answer in answers]
        assert torch.equal(*answers)
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
        assert all(gradient.any() for gradient in gradients[0])


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
