from dataclasses import replace

import pytest
import torch

from rsd_med.base.draws import Draws
from rsd_med.corruptions import Measurement
from rsd_med.operators import Identity, MultiCoilFourier, random_masks
from rsd_med.operators.masks import MaskDesign
from tests.operators.contracts import random_maps, random_tensor


def scans(ids="abcd", coils=3, size=(8, 6)):
    items = len(ids)
    masks = random_masks(MaskDesign(size[1], 2, 2), items, Draws().manual_seed(0))[:, None, None]
    operator = MultiCoilFourier(masks, random_maps((items, coils, *size), torch.complex64))
    data = operator(random_tensor((items, 1, *size), torch.complex64, 1))
    return Measurement(data, operator, torch.arange(items) / 10, torch.arange(items) + 1.0, tuple(ids))


def pictures(items=3):
    data = random_tensor((items, 3, 4, 5), torch.float32, 1)
    return Measurement(data, Identity(), torch.full((items,), 0.2), torch.ones(items), ("picture",) * items)


def same(one, other):
    return (
        one.ids == other.ids
        and one.data.equal(other.data)
        and one.sigma.equal(other.sigma)
        and one.scale.equal(other.scale)
        and one.image().equal(other.image())
    )


def test_columns_that_do_not_exist_travel_with_the_items():
    some = replace(scans(), acquired=torch.arange(24).reshape(4, 6) % 5 > 0)
    assert some[1:3].acquired.equal(some.acquired[1:3])
    joined = Measurement.cat([some[:2], scans("ef")])
    assert joined.acquired[:2].equal(some.acquired[:2])
    assert joined.acquired[2:].all()
    assert some.to("cpu").acquired.equal(some.acquired)
    assert Measurement.cat([scans(), scans()]).acquired is None


def test_scans_are_seen_as_the_adjoint_image_and_images_as_they_are():
    assert scans().image().equal(scans().operator.H(scans().data))
    assert scans().image().shape == (4, 1, 8, 6)
    assert pictures().image() is not None
    assert pictures().image().equal(pictures().data)


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        (slice(1, 3), ("b", "c")),
        (slice(None, None, 2), ("a", "c")),
        (torch.tensor([3, 0, 0]), ("d", "a", "a")),
        (torch.tensor([False, True, False, True]), ("b", "d")),
    ],
)
def test_items_are_selected_in_everything(index, ids):
    chosen = scans()[index]
    assert chosen.ids == ids
    assert len(chosen) == len(ids)
    numbers = ["abcd".index(name) for name in ids]
    assert chosen.data.equal(scans().data[numbers])
    assert chosen.sigma.equal(scans().sigma[numbers])
    assert chosen.scale.equal(scans().scale[numbers])
    assert chosen.operator.mask.equal(scans().operator.mask[numbers])
    assert torch.allclose(chosen.image(), scans().image()[numbers], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("index", [0, [0, 1]])
def test_selection_keeps_the_batch_dimension(index):
    with pytest.raises(TypeError, match="slice"):
        scans()[index]


def test_stacking_undoes_selecting():
    whole = scans()
    assert same(Measurement.cat([whole[:1], whole[1:3], whole[3:]]), whole)
    assert same(Measurement.cat([pictures()[:2], pictures()[2:]]), pictures())


def test_stacking_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="no measurement"):
        Measurement.cat([])
    with pytest.raises(ValueError, match="different shapes"):
        Measurement.cat([scans(), scans(size=(8, 5))])
    blank = Measurement(scans().data, Identity(), scans().sigma, scans().scale, scans().ids)
    with pytest.raises(ValueError, match="different types"):
        Measurement.cat([scans(), blank])


def test_moves_between_devices_as_a_whole():
    assert same(scans().to("cpu"), scans())


def test_refuses_attributes_that_disagree_about_the_number_of_items():
    one = pictures()
    with pytest.raises(ValueError, match="2 ids"):
        Measurement(one.data, one.operator, one.sigma, one.scale, one.ids[:2])
    with pytest.raises(ValueError, match="3 ids"):
        Measurement(one.data, one.operator, torch.tensor(0.2), one.scale, one.ids)
