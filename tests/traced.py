"""What a step computes beside its networks, with its random numbers drawn beforehand, so that torch can trace it.

torch's tracer takes no generator, and masks ask the processor for numbers. So both are drawn once, and replayed.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.operators.channels import to_channels
from rsd_med.training.batches import load_batch
from tests.published import published

DRAWN = ("normal", "uniform", "integers", "permutations", "poisson")


class Recording(Draws):
    """Draws that remember what they have answered."""

    def __getattribute__(self, name: str) -> Any:
        answer = super().__getattribute__(name)
        return answer if name not in DRAWN else lambda *shape, **options: self._note(answer(*shape, **options))

    def _note(self, answer: Tensor) -> Tensor:
        self.__dict__.setdefault("tape", []).append(answer)
        return answer


class Replay:
    """Answers in the place of `Draws`, in the order in which they were given."""

    def __init__(self, tape: list[Tensor]) -> None:
        self.tape = tape
        self.place = 0

    def _next(self, *_: object, **__: object) -> Tensor:
        self.place += 1
        return self.tape[self.place - 1]

    normal = uniform = integers = permutations = poisson = _next


class OneLayer(nn.Module):
    """Stands for a network: what that compiles to is asked elsewhere."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        return self.layer(x) * label.reshape(-1, 1, 1, 1)


@dataclass(frozen=True)
class Part:
    """A part of a step.

    Attributes
    ----------
    name
        ``objective`` or ``loss``.
    compute
        From random numbers to the loss of each item.
    learning
        What its gradient is for.
    tape
        The random numbers.
    """

    name: str
    compute: Callable[[Any], Tensor]
    learning: list[Tensor]
    tape: list[Tensor]

    def traced(self, tape: list[Tensor]) -> Tensor:
        return self.compute(Replay(tape))


def parts(name: str, folder: Path) -> Iterator[Part]:
    """Yield the objective and the student loss of a published protocol on a small batch."""
    built = published(name, folder, "diffusion.precision=float32")
    objective, loss = built.objective, built.protocol.student.loss.build()
    batch = load_batch(built.dataset, built.main_group[:4], built.device)
    draws = generator_for(0, "masks")
    operator = objective.corruption.draw(batch, draws)
    view = objective.show(objective.further(operator, draws))
    further = objective.further(batch.operator, draws)
    objective.further = lambda *_: further
    shape = to_channels(batch.image()).shape
    layers = [OneLayer(shape[1] + objective.context_channels, shape[1]) for _ in range(2)]
    denoiser, fake = (Denoiser(layer, hidden_std=0.1) for layer in layers)
    image = draws.normal(*shape).requires_grad_()

    def compare(numbers: Any) -> Tensor:
        observed = objective.observe(image, operator)
        return loss(observed, view, denoiser, fake, objective.corruption.sigma, numbers)

    weights = list(denoiser.parameters())
    for part, compute, learning in (
        ("objective", lambda numbers: objective(denoiser, batch, numbers), weights),
        ("loss", compare, [image]),
    ):
        recording = Recording()
        recording.manual_seed(0)
        compute(recording)
        yield Part(part, compute, learning, recording.tape)


def main(name: str, folder: Path) -> None:
    """Ask every part of a protocol for one graph of the same bits, forwards and backwards."""
    torch.set_num_threads(1)
    for part in parts(name, folder):
        compiled = torch.compile(part.traced, backend="eager", fullgraph=True)
        answers = [ask(part.tape) for ask in (part.traced, compiled)]
        gradients = [torch.autograd.grad(answer.sum(), part.learning) for answer in answers]
        assert torch.equal(*answers)
        assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
        assert all(gradient.any() for gradient in gradients[0])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
