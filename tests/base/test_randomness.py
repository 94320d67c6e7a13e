"""Derived randomness: the same for the same purpose and item, anywhere; the global state stays as it is."""

import subprocess
import sys

import torch

from rsd_med.base.randomness import derive_seed, generator_for


def test_a_draw_depends_on_seed_purpose_and_item_only():
    def draw(*key):
        return torch.randn(4, generator=generator_for(*key))

    torch.testing.assert_close(draw(1, "corruption", "a"), draw(1, "corruption", "a"), rtol=0, atol=0)
    others = [
        (2, "corruption", "a"),
        (1, "latents", "a"),
        (1, "corruption", "b"),
        (1, "corruption"),
        (1, "corruption", "a", 0),
    ]
    for other in others:
        assert not torch.equal(draw(1, "corruption", "a"), draw(*other))


def test_parts_of_a_key_do_not_run_together():
    assert derive_seed(1, "a", "bc") != derive_seed(1, "ab", "c")
    assert derive_seed(1, "a", 12) != derive_seed(1, "a", 1, 2)


def test_seeds_are_the_same_in_every_process():
    program = "from rsd_med.base.randomness import derive_seed; print(derive_seed(7, 'corruption', 'file.h5', 3))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(shown.stdout) == derive_seed(7, "corruption", "file.h5", 3)
    assert 0 <= int(shown.stdout) < 2**63


def test_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    torch.randn(8, generator=generator_for(1, "noise"))
    assert torch.equal(before, torch.get_rng_state())
