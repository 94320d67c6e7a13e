"""What a rank does in test_distribution.py: started by torchrun, leaves its findings in a file."""

import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from rsd_med.base.errors import DataError
from rsd_med.runs import buckets
from rsd_med.runs.distribution import Ranks, connect
from tests.training.test_student_stage import fourier_stage
from tests.training.test_teacher_stage import teacher_stage
from tests.training.toys import generator, pictures, scans


def train(make, batch, distribution, steps=3, spoil=None, most=None):
    """Take steps on this rank's share; return the weights, and all that each step told.

    The last rank has memory for ``most`` images at once.
    """
    stage = make()
    stage.distribution = distribution
    if most and distribution.rank == distribution.world_size - 1:
        stage.learn = partial(on_small_card, stage.learn, most)
    size = len(batch) // distribution.world_size
    share = batch[distribution.rank * size : (distribution.rank + 1) * size]
    told = []
    for step in range(steps):
        seen = share
        if step == spoil and distribution.rank == distribution.world_size - 1:
            seen = replace(share, data=share.data.clone())
            seen.data[0] = float("nan")
        figures = stage.step(seen, step * len(batch), generator(step))
        told.append({name: float(value) for name, value in figures.items()})
    weights = {name: network.state_dict() for name, network in stage.networks().items()}
    return weights, told, stage.offenders(), stage.micro_batch


def on_small_card(learn, most, network, objective, measurement, draws):
    """Run out of memory after a part of the backward pass, if there are too many images."""
    losses = learn(network, objective, measurement, draws)
    if len(measurement) > most:
        torch.autograd.backward(losses.sum())
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return losses


STAGES = ((teacher_stage, pictures(8)), (fourier_stage, scans(8)))


def findings(distribution):
    """Everything that ranks can do, once."""
    rank = distribution.rank
    operator = scans(8).operator
    orders = torch.tensor([5, 0, 7, 2, 2, 6, 1, 4]).reshape(distribution.world_size, -1)
    share = slice(rank * 4, rank * 4 + 4) if distribution.world_size == 2 else slice(None)
    picked = distribution.pick(operator[share], orders)
    stage = teacher_stage()
    stage.distribution = stage.monitor.distribution = distribution
    figures, samples = stage.evaluate(0)
    return {
        "picked": (picked.maps, picked.mask),
        "composed": distribution.pick((operator @ operator.H)[share], orders).parts[0].maps,
        "gathered": distribution.gather([torch.full((1,), 2 * k + rank) for k in range(2 - rank)]),
        "texts": distribution.gather_texts([f"rank {rank}"]),
        "agreed": distribution.agree(10 - rank),
        "evaluation": (figures, samples, stage.monitor.distance(samples.repeat(9, 1, 1, 1))),
        "teacher": train(teacher_stage, pictures(8), distribution),
        "spoilt": train(teacher_stage, pictures(8), distribution, spoil=1),
        "student": train(fourier_stage, scans(8), distribution),
        "overlapping": overlapping(distribution),
    }


def overlapping(distribution):
    """Let gradients travel in small buckets during the backward pass; return weights, and what three layers sent."""
    if distribution.world_size == 1:
        return None
    sent = []
    real, buckets.BUCKET_BYTES, distribution.overlaps = buckets.Buckets._send, 64, True
    buckets.Buckets._send = lambda self: (sent.append(any(self._missing)), real(self))
    try:
        trained = [train(make, batch, distribution) for make, batch in STAGES]
        trained += [train(make, batch, distribution, most=2) for make, batch in STAGES]
        sent.clear()
        layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)))
        for parameter in layers.parameters():
            torch.nn.init.constant_(parameter, 0.1)
        with distribution.averaging([layers]):
            layers(torch.full((1, 4), 1.0 + distribution.rank)).sum().backward()
        distribution.average_gradients(layers, torch.zeros(()))
        return trained, sent, [parameter.grad for parameter in layers.parameters()]
    finally:
        buckets.Buckets._send, distribution.overlaps = real, False


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distribution = connect()
    assert isinstance(distribution, Ranks)
    torch.save(findings(distribution), folder / f"{distribution.rank}.pt")
    # One rank's error ends all of them, with its exit code, and is told by it alone.
    try:
        with distribution.together():
            if distribution.rank == 1:
                raise DataError("only rank 1 knows")
    except DataError as error:
        (folder / "told").write_text(f"{distribution.rank}: {error}")
    except SystemExit as left:
        (folder / "left").write_text(f"{distribution.rank}: {left.code}")
    # A rank dies: the other is told so instead of waiting for it.
    distribution.wait()
    if distribution.rank == 1:
        os._exit(0)
    try:
        distribution.wait()
    except Exception as error:
        (folder / "bereft").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
