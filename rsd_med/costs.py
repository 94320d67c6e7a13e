"""What a protocol costs, by counting: operations, memory and days of a GPU, with nothing computed.

Networks are built of tensors without numbers (torch's fake tensors), and their passes are followed: which products they
take, what the backward pass will ask for, what lies in memory at once.
"""

import math
import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rsd_med.base.draws import Draws
from rsd_med.diffusion.compute import ComputeOptions, Precision
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.unrolled import CONTEXT
from rsd_med.evaluation.generation import BATCH as DRAWN_AT_ONCE
from rsd_med.experiment import Experiment
from rsd_med.operators.channels import to_channels
from rsd_med.protocol import Protocol
from rsd_med.training.reconstructor_stage import ReconstructorSettings
from rsd_med.training.stage import count_passes

GIB = 2**30

REACHED: dict[Precision, float] = {"float32": 40e12, "tf32": 100e12, "bfloat16": 200e12}
"""FLOP/s that training is assumed to reach on an H200; `benchmarks.gpu` measures it.

A quarter of the peak for products of bfloat16 (790e12) and TF32, six tenths of float32's.
"""

CONTEXT_GIB = 1.5
"""What CUDA, its libraries and their workspaces take beside all tensors."""

SPARE = 0.05
"""Share of a card that is lost between tensors."""

ASKED_ITEMS = 13
"""Images in a pass that is followed: a prime, by which what belongs to images is told from what belongs to weights."""


@dataclass(frozen=True)
class ImageShape:
    """What the networks of a protocol see.

    Attributes
    ----------
    channels, context
        Real channels of the image, and those that the network is given beside it.
    height, width
        In pixels.
    coils
        Of k-space; 0 for images.
    """

    channels: int
    context: int
    height: int
    width: int
    coils: int = 0

    @property
    def data_bytes(self) -> int:
        """Bytes of one measurement with its operator on the device."""
        pixels = self.height * self.width
        return 16 * self.coils * pixels if self.coils else 8 * self.channels * pixels


@dataclass(frozen=True)
class NetworkCosts:
    """Counts of one network. Bytes are those of one image.

    Attributes
    ----------
    flops
        Of a forward pass for one image.
    weights
        Their number.
    learning
        Bytes held for the backward pass to the weights.
    frozen
        Bytes held for the backward pass to the input alone.
    drawing
        Bytes at once in memory in a pass without a backward pass.
    largest
        Bytes of the largest tensor.
    """

    flops: float
    weights: int
    learning: int
    frozen: int
    drawing: int
    largest: int


@dataclass(frozen=True)
class StageCosts:
    """Counts of one stage.

    Attributes
    ----------
    memory
        Bytes on each GPU, at most.
    fixed
        Those of them that do not depend on the number of images at once.
    at_once
        Images that a network sees at once.
    flops
        Of the whole stage on all GPUs, its evaluations included.
    """

    memory: int
    fixed: int
    at_once: int
    flops: float


def count_network(protocol: Protocol, shape: ImageShape, precision: Precision) -> NetworkCosts:
    """Follow the passes of a protocol's network; nothing is computed, and no memory taken."""
    with FakeTensorMode():
        network = protocol.backbone.build(shape.channels + shape.context, shape.channels)
        denoiser = Denoiser(nn.Identity(), compute_options=ComputeOptions(precision=precision))
        denoiser.network = network  # afterwards: a fake network cannot be laid out anew
        weights = sum(parameter.numel() for parameter in network.parameters())
        learning, largest = _held(denoiser.learning(Draws()), shape, learns=True)
        frozen, _ = _held(denoiser.requires_grad_(False), shape, learns=False)
        with torch.no_grad(), FlopCounterMode(display=False) as counter, _Live() as live:
            _ask(denoiser, shape, ASKED_ITEMS)
        drawing = max(0, live.peak - (2 * weights if precision == "bfloat16" else 0)) // ASKED_ITEMS
        return NetworkCosts(counter.get_total_flops() / ASKED_ITEMS, weights, learning, frozen, drawing, largest)


def count_stages(protocol: Protocol, shape: ImageShape, precision: Precision, ranks: int = 1) -> dict[str, StageCosts]:
    """Count the stages of a protocol on ``ranks`` GPUs, by their names.

    Raises
    ------
    ProtocolError
        If a batch cannot be divided.
    """
    network = count_network(protocol, shape, precision)
    stages = {"teacher": _teacher(protocol, shape, network, precision, ranks)} | {
        "student": _student(protocol, shape, network, precision, ranks)
    }
    if protocol.reconstructor is not None:
        stages["reconstructor"] = _reconstructor(protocol, protocol.reconstructor, shape, precision, ranks)
    return stages


def shape_of(experiment: Experiment) -> ImageShape:
    """Read one measurement, and return what the networks will see.

    Raises
    ------
    DataError
        If there are no data, or they cannot be read.
    """
    measurement = experiment.dataset[experiment.main_group[0]]
    channels, height, width = to_channels(measurement.image()).shape[1:]
    coils = 0 if measurement.operator.coil_maps is None else measurement.data.shape[1]
    return ImageShape(channels, experiment.objective.context_channels, height, width, coils)


def precision_of(protocol: Protocol) -> Precision:
    """Return the precision inside the networks on a GPU of today; ``auto`` will be bfloat16."""
    stated = protocol.diffusion.precision
    return "bfloat16" if stated == "auto" else stated


def describe(protocol: Protocol, shape: ImageShape, ranks: int, device_gib: float) -> tuple[bool, list[str]]:
    """Say whether both stages of a protocol fit on cards of some GiB, and how many days of them they take.

    Returns
    -------
    tuple[bool, list[str]]
        Whether they fit, and a sentence for each stage, with what to do, and for the days.
    """
    precision = precision_of(protocol)
    stages = count_stages(protocol, shape, precision, ranks)
    batches = {"teacher": protocol.teacher.batch_size, "student": protocol.student.batch_size}
    if protocol.reconstructor is not None:
        batches["reconstructor"] = protocol.reconstructor.batch_size
    verdicts = [describe_memory(name, stage, batches[name] // ranks, device_gib) for name, stage in stages.items()]
    days = " + ".join(f"{gpu_days(stage.flops, precision):.3g}" for stage in stages.values())
    speed = f"{REACHED[precision] / 1e12:.0f} TFLOP/s in {precision}"
    faster = "; diffusion.precision=tf32 or bfloat16 is several times as fast" if precision == "float32" else ""
    counted = f"{days} GPU-days ({' + '.join(stages)}, evaluations included) at an assumed {speed}{faster}"
    return all(good for good, _ in verdicts), [*(sentence for _, sentence in verdicts), counted]


def gpu_days(flops: float, precision: Precision) -> float:
    """Return the days that one H200 takes for operations, if it is as fast as ``REACHED`` says."""
    return flops / REACHED[precision] / 86_400


def room(device_gib: float) -> float:
    """Return the bytes of a card of some GiB that are left for tensors."""
    return ((1 - SPARE) * device_gib - CONTEXT_GIB) * GIB


def describe_memory(name: str, stage: StageCosts, share: int, device_gib: float) -> tuple[bool, str]:
    """Say whether a stage fits on a card, in a few words, and what to do where it does not.

    Parameters
    ----------
    name
        Of the stage.
    stage, share
        Its counts, and the images of a batch that each GPU takes.
    device_gib
        Memory of the card.
    """
    size = f"{name} {stage.memory / GIB:.1f} GiB on a card of {device_gib:.0f}, {stage.at_once} images at once"
    if stage.memory <= room(device_gib):
        return True, size
    smaller = largest_micro_batch(stage, share, device_gib)
    if smaller is None or smaller >= stage.at_once:
        return False, f"{size}; it does not fit, however few: make the backbone smaller, or take a larger card"
    return False, f"{size}; it does not fit: set engine.micro_batch={smaller}, with the same result"


def largest_micro_batch(stage: StageCosts, share: int, device_gib: float) -> int | None:
    """Return the most images at once with which a stage fits on a card and that divide a share; None if none does."""
    each = (stage.memory - stage.fixed) / stage.at_once
    return next(
        (n for n in range(share, 0, -1) if share % n == 0 and stage.fixed + n * each <= room(device_gib)),
        None,
    )


def _teacher(
    protocol: Protocol, shape: ImageShape, network: NetworkCosts, precision: Precision, ranks: int
) -> StageCosts:
    settings = protocol.teacher
    cast = 2 if precision == "bfloat16" else 0
    # Weights, gradients, two moments and the average; while it is evaluated, a cast copy of the average.
    fixed = (20 + 2 * cast) * network.weights
    calls = protocol.evaluation.samplers[0].calls(protocol.corruption.build().sigma)
    evaluated = _evaluations(settings.images, settings.evaluate_every) * settings.evaluate_samples * calls
    flops = network.flops * (3 * settings.images + evaluated)
    return _stage(protocol, shape, network, settings.batch_size // ranks, network.learning, fixed, flops)


def _student(
    protocol: Protocol, shape: ImageShape, network: NetworkCosts, precision: Precision, ranks: int
) -> StageCosts:
    settings = protocol.student
    loss, cast = settings.loss.build(), 2 if precision == "bfloat16" else 0
    # The teacher; fake score and generator with gradients and moments; the average, its cast copy, the best so far.
    learners, asked = (2, 2) if loss.uses_fake else (1, 1)
    fixed = ((cast or 4) + learners * (16 + cast) + 8 + cast) * network.weights
    calls = settings.few_steps.calls
    held = calls * network.learning + (asked * network.frozen if loss.through_networks else 0)
    fake = (3 + calls) * settings.fake_steps if loss.uses_fake else 0
    passes = 3 * calls + asked * (2 if loss.through_networks else 1) + fake
    evaluated = _evaluations(settings.images, settings.evaluate_every) * settings.evaluate_samples * calls
    flops = network.flops * (passes * settings.images + evaluated)
    return _stage(protocol, shape, network, settings.batch_size // ranks, held, fixed, flops)


def _reconstructor(
    protocol: Protocol, settings: ReconstructorSettings, shape: ImageShape, precision: Precision, ranks: int
) -> StageCosts:
    own = protocol.model_copy(update={"backbone": settings.backbone or protocol.backbone})
    network = count_network(own, replace(shape, context=CONTEXT), precision)
    cast = 2 if precision == "bfloat16" else 0
    # The network is asked once a turn; while it learns, for half of those before the last, and without gradients.
    # The data steps are nothing beside that.
    before = settings.turns - 1
    fixed = (20 + 2 * cast) * network.weights
    evaluated = _evaluations(settings.images, settings.evaluate_every) * settings.evaluate_samples
    flops = network.flops * ((3 + before / 2) * settings.images + settings.turns * evaluated)
    # Of each draw the data step holds two images, and it is measured.
    held = network.learning + settings.draws * 2 * shape.data_bytes // max(1, shape.coils)
    return _stage(protocol, shape, network, settings.batch_size // ranks, held, fixed, flops)


def _stage(
    protocol: Protocol, shape: ImageShape, network: NetworkCosts, share: int, held: int, fixed: int, flops: float
) -> StageCosts:
    at_once = share // count_passes(share, protocol.engine.micro_batch)
    # Of a pass: what is held, three tensors under way, and the physics: k-space, its noise, its transforms, …
    each = held + 3 * network.largest + 6 * shape.data_bytes
    batches = 2 * share * shape.data_bytes  # this one, and the next on its way
    drawn = fixed + DRAWN_AT_ONCE * (network.drawing + 3 * shape.data_bytes)
    stays = fixed + batches
    return StageCosts(max(stays + at_once * each, drawn), stays, at_once, flops)


def _evaluations(images: int, every: int | None) -> int:
    return 1 if every is None else math.ceil(images / every)


def _ask(denoiser: Denoiser, shape: ImageShape, items: int, *, wants_gradient: bool = False) -> Tensor:
    image = torch.empty(items, shape.channels, shape.height, shape.width, requires_grad=wants_gradient)
    context = torch.empty(items, shape.context, shape.height, shape.width) if shape.context else None
    answer: Tensor = denoiser(image, torch.ones(items), context)
    return answer


def _held(denoiser: Denoiser, shape: ImageShape, *, learns: bool) -> tuple[int, int]:
    """Return the bytes that a pass holds for its backward pass, and those of its largest tensor, for one image."""
    sizes: dict[int, int] = {}
    storages = []  # alive until all are counted: else another could take the place of one

    def hold(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() % ASKED_ITEMS == 0 and id(storage) not in sizes:
            storages.append(storage)
            sizes[id(storage)] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(hold, _same):
        _ask(denoiser, shape, ASKED_ITEMS, wants_gradient=not learns)
    return sum(sizes.values()) // ASKED_ITEMS, max(sizes.values(), default=0) // ASKED_ITEMS


def _same(tensor: Tensor) -> Tensor:
    return tensor


class _Live(TorchDispatchMode):
    """Follows how many bytes of what operations make are alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry an operation out and count what it makes."""
        given = {id(tensor.untyped_storage()) for tensor in _tensors((args, kwargs))}
        outcome = func(*args, **(kwargs or {}))
        for tensor in _tensors(outcome):
            storage = tensor.untyped_storage()
            if id(storage) not in given:
                size = storage.nbytes()
                self.live += size
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._forget, size)
        return outcome

    def _forget(self, size: int) -> None:
        self.live -= size


def _tensors(tree: object) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    branches = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for branch in branches for tensor in _tensors(branch)]
