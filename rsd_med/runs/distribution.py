"""One process or many: what the ranks of a run tell one another (torch.distributed, started by torchrun)."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from rsd_med.base.devices import sent
from rsd_med.base.errors import InterruptedRunError, ProtocolError, RsdMedError
from rsd_med.operators.linear import LinearOperator
from rsd_med.runs.buckets import Buckets

PATIENCE = timedelta(hours=2)
"""How long a rank waits for word from another: one of them may be evaluating alone."""

STUCK = timedelta(minutes=20)
"""How long a rank waits for another's tensors, which none is late for by more than a checkpoint or a cold cache.

Between GPUs this is what notices a machine that has died: NCCL hears nothing of it.
"""

Answer = TypeVar("Answer")


class Distribution:
    """A single process: nothing to be told to anyone. ``Ranks`` is the same for many.

    Attributes
    ----------
    rank, world_size
        Which process this is, of how many.
    """

    rank = 0
    world_size = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes logs, checkpoints and reports."""
        return self.rank == 0

    def device(self, kind: str) -> torch.device:
        """Return this process's device of a kind, ``"cpu"`` or ``"cuda"``."""
        return torch.device(kind)

    def share(self, items: Sequence[Answer]) -> Sequence[Answer]:
        """Return this process's part of a batch: contiguous, the first rank's first.

        Raises
        ------
        ProtocolError
            If the batch cannot be divided evenly.
        """
        if len(items) % self.world_size:
            raise ProtocolError(
                f"batch_size: {len(items)} images cannot be shared evenly among {self.world_size} processes; choose a "
                "multiple, or another --nproc-per-node."
            )
        size = len(items) // self.world_size
        return items[self.rank * size : (self.rank + 1) * size]

    def deal(self, items: Sequence[Answer]) -> Sequence[Answer]:
        """Return what falls to this process when items are dealt in turn; ``gather`` puts the outcomes in order."""
        return items[self.rank :: self.world_size]

    def average_gradients(self, module: nn.Module, numbers: Tensor) -> Tensor:
        """Replace gradients by their mean over all ranks, in one message; return the mean of ``numbers`` as well."""
        return numbers

    @contextmanager
    def averaging(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """Let the gradients of a step's last backward pass travel while it runs; `average_gradients` then waits.

        Parameters
        ----------
        modules
            Networks that may learn in this pass.
        """
        yield

    def agree(self, number: int) -> int:
        """Return the largest of the numbers that the ranks give."""
        return number

    def gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of all ranks, dealt in turn: rank 0's first, rank 1's first, …, rank 0's second, …."""
        return list(tensors)

    def gather_texts(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of all ranks."""
        return list(texts)

    def pick(self, operator: LinearOperator, orders: Tensor) -> LinearOperator:
        """Return items of the whole batch, each rank holding its share of it.

        Parameters
        ----------
        operator
            This rank's share of the operators.
        orders
            Which items of the whole batch each rank asks for, ``(ranks, n)`` on the CPU, the same on every rank.
        """
        return operator[sent(orders[0], operator.device or "cpu")]

    def wait(self) -> None:
        """Wait until every rank is here."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Fail together: an error of one rank ends the block on all of them, and is told once."""
        yield

    @contextmanager
    def short_of_memory_together(self) -> Iterator[None]:
        """Run out of memory together: an ``OutOfMemoryError`` of one rank ends the block with one on all of them."""
        yield

    def told_once(self, error: RsdMedError) -> BaseException:
        """Return what to raise for an error that every rank meets: rank 0 tells it, all leave with its exit code."""
        return error if self.is_main else SystemExit(error.exit_code)

    def close(self) -> None:
        """Leave the group."""


ALONE = Distribution()


class Ranks(Distribution):
    """One of the processes that torchrun has started: gloo between CPUs, NCCL between GPUs.

    Networks are not wrapped, so that frozen networks, input gradients and accumulation cost nothing. Within a machine a
    step's gradients travel in one flat message after its last backward pass, and with them the loss. Between machines
    they travel in buckets during that pass.

    Attributes
    ----------
    overlaps
        Whether gradients travel during the backward pass.
    """

    def __init__(self) -> None:
        self.rank, self.world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        self._guard(lambda: dist.init_process_group(backend, timeout=STUCK))
        # Words travel between CPUs, in a group of their own: theirs is another patience.
        self._words: Any = self._guard(lambda: dist.new_group(backend="gloo", timeout=PATIENCE))
        self._flat: dict[int, Tensor] = {}
        self.overlaps = self.world_size > int(os.environ.get("LOCAL_WORLD_SIZE", str(self.world_size)))
        self._buckets: dict[int, Buckets] = {}

    def __getstate__(self) -> dict[str, int]:
        """Give a process that reads data what it needs to find this rank's share."""
        return {"rank": self.rank, "world_size": self.world_size, "local_rank": self.local_rank}

    def device(self, kind: str) -> torch.device:
        """Return this process's device: each rank of a machine has its own GPU."""
        if kind != "cuda":
            return torch.device(kind)
        count = torch.cuda.device_count()
        if count == 1 and not dist.is_torchelastic_launched():
            return torch.device(kind, 0)  # a batch system has given each task the one GPU that it sees
        if self.local_rank >= count:
            raise ProtocolError(
                f"--nproc-per-node: this machine has {count} GPUs, and rank {self.rank} needs one "
                "of its own; start as many processes as there are GPUs, or set engine.device: cpu."
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device(kind, self.local_rank)

    @contextmanager
    def averaging(self, modules: Iterable[nn.Module]) -> Iterator[None]:
        """See the base class."""
        self._buckets = {id(m): Buckets(m, self.world_size, self._guard) for m in modules} if self.overlaps else {}
        try:
            yield
        finally:
            for buckets in self._buckets.values():
                buckets.stop_listening()

    @torch.no_grad()
    def average_gradients(self, module: nn.Module, numbers: Tensor) -> Tensor:
        """See the base class. The same bits on every rank: each sum is computed once and sent to the others."""
        buckets = self._buckets.pop(id(module), None)
        if buckets is not None:
            buckets.finish()
            mean = numbers.detach().to(torch.float32).clone()
            self._guard(lambda: dist.all_reduce(mean))
            return mean / self.world_size
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        pieces = [gradient.flatten() for gradient in gradients] + [numbers.detach().flatten().to(torch.float32)]
        flat = self._flat.get(id(module))
        if flat is None or len(flat) != sum(map(len, pieces)):
            flat = self._flat[id(module)] = torch.empty(sum(map(len, pieces)), device=pieces[0].device)
        torch.cat(pieces, out=flat)
        self._guard(lambda: dist.all_reduce(flat))
        flat /= self.world_size
        parts = flat.split([len(piece) for piece in pieces])
        torch._foreach_copy_(gradients, [part.view_as(g) for part, g in zip(parts[:-1], gradients, strict=True)])
        return parts[-1].reshape(numbers.shape).clone()

    def agree(self, number: int) -> int:
        """See the base class; between CPUs, so that no GPU is waited for."""
        largest = torch.tensor(number)
        self._guard(lambda: dist.all_reduce(largest, op=dist.ReduceOp.MAX, group=self._words))
        return int(largest)

    def gather(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """See the base class; ranks may hold different numbers of tensors of different shapes."""
        shares: list[list[Tensor]] = [[] for _ in range(self.world_size)]
        self._guard(lambda: dist.all_gather_object(shares, [tensor.cpu() for tensor in tensors], group=self._words))
        device = tensors[0].device if tensors else torch.device("cpu")
        rounds = max(map(len, shares))
        return [share[turn].to(device) for turn in range(rounds) for share in shares if turn < len(share)]

    def gather_texts(self, texts: Sequence[str]) -> list[str]:
        """See the base class."""
        shares: list[list[str]] = [[] for _ in range(self.world_size)]
        self._guard(lambda: dist.all_gather_object(shares, list(texts), group=self._words))
        return [text for share in shares for text in share]

    def pick(self, operator: LinearOperator, orders: Tensor) -> LinearOperator:
        """See the base class; each item travels once, from its owner to the rank that asks for it."""
        held, device = operator.items, operator.device
        if held is None or device is None:
            return operator
        first, own = self.rank * held, orders[self.rank]
        asked = [indices[(indices >= first) & (indices < first + held)] - first for indices in orders]
        owner = own // held
        received = [int((owner == rank).sum()) for rank in range(self.world_size)]
        # What arrives is sorted by its owner, and in the asked order within each.
        arrival = torch.empty_like(own)
        arrival[owner.argsort(stable=True)] = torch.arange(len(own))
        leaving, arrival = sent(torch.cat(asked), device), sent(arrival, device)

        def exchange(tensor: Tensor) -> Tensor:
            plain = _plain(tensor)
            outgoing = plain[leaving].contiguous()
            incoming = plain.new_empty(len(own), *plain.shape[1:])
            self._guard(
                lambda: dist.all_to_all_single(incoming, outgoing, received, [len(indices) for indices in asked])
            )
            return _unplain(incoming, tensor)[arrival]

        return operator.with_items(exchange)

    def wait(self) -> None:
        """Wait until every rank is here."""
        self.agree(0)

    @contextmanager
    def together(self) -> Iterator[None]:
        """See the base class: the first rank that fails says why, the others leave with the same exit code."""
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        code = error.exit_code if isinstance(error, RsdMedError) else int(error is not None)
        codes = [0] * self.world_size
        self._guard(lambda: dist.all_gather_object(codes, code, group=self._words))
        if not any(codes):
            return
        first = next(rank for rank, status in enumerate(codes) if status)
        if error is not None and self.rank == first:
            raise error
        raise SystemExit(codes[first])

    @contextmanager
    def short_of_memory_together(self) -> Iterator[None]:
        """See the base class; between CPUs, so that no GPU is waited for."""
        error: torch.OutOfMemoryError | None = None
        try:
            yield
        except torch.OutOfMemoryError as caught:
            error = caught
        if self.agree(int(error is not None)):
            raise error or torch.OutOfMemoryError("Another process of this run is out of memory.")

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()

    def _guard(self, call: Callable[[], Answer]) -> Answer:
        """Turn a broken connection into a sentence."""
        try:
            return call()
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:160]
            raise InterruptedRunError(
                f"rank {self.rank} of {self.world_size}: another process of this run has ended or cannot be reached "
                f"({reason}); its own message says why. The last checkpoint is kept: run the same command again."
            ) from error


def connect() -> Distribution:
    """Join the other processes where torchrun has started this one, or stay alone."""
    return Ranks() if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ else ALONE


def _plain(tensor: Tensor) -> Tensor:
    """View a tensor in a type that every backend sends."""
    if tensor.is_complex():
        return torch.view_as_real(tensor)
    return tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor


def _unplain(plain: Tensor, like: Tensor) -> Tensor:
    return torch.view_as_complex(plain) if like.is_complex() else plain.to(like.dtype)
