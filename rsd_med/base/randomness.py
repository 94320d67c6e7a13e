"""Randomness that depends on what is drawn, never on when: every draw derives from (seed, purpose, item)."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from rsd_med.base.draws import Draws


def derive_seed(seed: int, purpose: str, *items: object) -> int:
    """Hash ``(seed, purpose, *items)`` to a 63-bit seed, the same on every machine and in every process."""
    text = "\x1f".join([str(seed), purpose, *map(str, items)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator_for(seed: int, purpose: str, *items: object, device: "torch.device | str" = "cpu") -> "Draws":
    """Return fresh `Draws` for one purpose and item; the global random state is never touched.

    Parameters
    ----------
    seed
        The run's seed.
    purpose
        What is drawn, for example ``"corruption"``.
    items
        Which one: an item id, a count of images seen.
    device
        Where the generator lives; it must match the tensors it fills.
    """
    from rsd_med.base.draws import Draws

    return Draws(device=device).manual_seed(derive_seed(seed, purpose, *items))


@contextmanager
def weights_from(generator: "Draws") -> Iterator[None]:
    """Let networks that are built inside draw their weights from a generator alone; the global random state is kept."""
    import torch

    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would reseed every accelerator as well, which the fork does not undo.
        torch.random.default_generator.manual_seed(generator.initial_seed())
        yield
