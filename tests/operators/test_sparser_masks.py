"""Sparser masks: a subset, all numbers of central columns, all shares."""

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.operators.masks import acs_slice, sparser_masks


def test_a_mask_loses_columns_and_keeps_a_centre():
    width, items = 40, 300
    mask = torch.rand(items, 1, 1, width, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[..., acs_slice(width, 10)] = True
    sparser = sparser_masks(mask, (4, 10), (0.2, 0.95), generator_for(0, "masks"))
    assert not bool((sparser & ~mask).any())
    assert bool(sparser[..., acs_slice(width, 4)].all())
    outside = torch.ones(width, dtype=torch.bool)
    outside[acs_slice(width, 10)] = False
    share = (sparser & mask)[..., outside].sum(-1) / mask[..., outside].sum(-1)
    assert 0.53 < float(share.mean()) < 0.62  # between 0.2 and 0.95, evenly
    assert float(share.min()) < 0.3
    assert float(share.max()) > 0.85
    central = torch.stack([sparser[..., acs_slice(width, n)].all(-1) for n in range(4, 11)]).sum(0)
    assert len(central.unique()) == 7, "every number of central columns occurs"


def test_parts_of_a_batch_get_what_the_whole_gets():
    mask = torch.ones(6, 1, 1, 20, dtype=torch.bool)
    whole = sparser_masks(mask, (2, 8), (0.2, 0.95), generator_for(0, "masks"))
    for part in range(2):
        draws = generator_for(0, "masks")
        with draws.part(part, 2, 3):
            assert torch.equal(sparser_masks(mask[:3], (2, 8), (0.2, 0.95), draws), whole[3 * part : 3 * part + 3])


def test_an_impossible_range_is_refused():
    mask = torch.ones(1, 1, 1, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="4 to 3"):
        sparser_masks(mask, (4, 3), (0.2, 0.95), generator_for(0, "masks"))
    with pytest.raises(ValueError, match=r"0\.9 to 0\.2"):
        sparser_masks(mask, (2, 3), (0.9, 0.2), generator_for(0, "masks"))
