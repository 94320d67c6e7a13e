"""The U-Net on patches: any image size, one data type inside, one graph, and weights that all learn."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rsd_med.diffusion.backbones import PatchUNetSettings
from rsd_med.diffusion.backbones.patch_unet import PlaceAttention, PlaceNorm
from tests.diffusion.gaussian import generator

SMALL = PatchUNetSettings(channels=(8, 16), attention=(False, True), residual_blocks=2, dropout=0.3)


@pytest.fixture(scope="module", params=[1, 2], ids=["pixels", "patches"])
def network(request):
    """A network whose zero layers are filled: a fresh one answers zero whatever it sees."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SMALL.model_copy(update={"patch": request.param}).build(3, 2)
    source = generator(7)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=source)
    return network


def images(*sides, count=2):
    return torch.randn(count, 3, *sides, generator=generator())


@pytest.mark.parametrize("sides", [(8, 8), (12, 8), (5, 8), (7, 9)])
def test_any_size_goes_in_and_comes_out(network, sides):
    answer = network(images(*sides), torch.zeros(2))
    assert answer.shape == (2, 2, *sides)
    assert answer.isfinite().all()
    assert answer.std() > 0


def test_the_first_answer_is_zero():
    assert not SMALL.build(3, 2)(images(8, 8), torch.zeros(2)).any()


def test_the_image_begins_as_a_smooth_part_that_overlaps_and_a_sharp_one():
    blend = SMALL.build(3, 2).blend
    spot = torch.zeros(1, 4, 5, 5)
    spot[0, 1, 2, 2] = 16.0
    smooth = blend(spot)
    assert torch.equal(smooth[0, 1, 1:4, 1:4], torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]))
    assert not smooth[0, 0].any()
    assert torch.equal(blend(spot.roll(2, 1))[0, 1], spot[0, 1])


def test_gradients_reach_every_pixel_and_every_weight(network):
    x = images(5, 7).requires_grad_()
    answer = network(x, torch.tensor([0.3, -1.2]), torch.ones(2, 9), network.dropout_masks(x, generator(3)))
    gradients = torch.autograd.grad(answer.square().sum(), [x, *network.parameters()])
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients)
    assert (gradients[0] != 0).all()


def test_levels_and_augmentations_are_heard_and_items_are_apart(network):
    x = images(8, 8)[:1].expand(3, -1, -1, -1)
    levels, labels = torch.tensor([-1.0, 1.0, 1.0]), torch.eye(9)[:1] * torch.tensor([[0.0], [0.0], [1.0]])
    low, high, augmented = network(x, levels, labels)
    assert not torch.allclose(low, high, atol=1e-4)
    assert not torch.allclose(high, augmented, atol=1e-4)
    assert torch.allclose(network(x[:1], levels[1:2])[0], high, atol=1e-5)


def test_dropout_comes_from_its_masks_alone(network):
    x, levels = images(8, 8), torch.zeros(2)
    assert torch.equal(network.train()(x, levels), network.eval()(x, levels))
    dropping = network(x, levels, None, network.dropout_masks(x, generator(1)))
    assert torch.equal(dropping, network(x, levels, None, network.dropout_masks(x, generator(1))))
    assert not torch.allclose(dropping, network(x, levels), atol=1e-4)


def test_between_input_and_output_every_number_is_bfloat16_under_autocast(network):
    """A layer that answered in float32 would double the memory traffic of all that follow."""
    types = set()
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: types.add(output.dtype))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | PlaceNorm)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        network(images(8, 8), torch.zeros(2))
    for hook in hooks:
        hook.remove()
    assert types == {torch.bfloat16}


def test_a_place_is_normalised_over_its_own_features():
    x = images(4, 5).double()
    mean, std = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0).add(1e-5).sqrt()
    torch.testing.assert_close(PlaceNorm(3).double()(x), (x - mean) / std)


def test_attention_is_softmax_over_all_places_in_each_head():
    layer = PlaceAttention(128).double()
    layer.answer.weight.data = torch.eye(128).double()[:, :, None, None]
    x = torch.randn(1, 128, 2, 3, generator=generator()).double()
    places = layer.norm(x)[0].flatten(1).T
    parts = (places @ layer.query_key_value.weight[:, :, 0, 0].T + layer.query_key_value.bias).reshape(6, 3, 2, 64)
    expected = []
    for head in range(2):
        query, key, value = parts[:, 0, head], parts[:, 1, head], parts[:, 2, head]
        expected.append((query @ key.T / 8).softmax(dim=1) @ value)
    torch.testing.assert_close(layer(x), x + torch.cat(expected, 1).T.reshape(1, 128, 2, 3))


def test_a_network_that_learns_compiles_to_one_graph(network):
    torch._dynamo.reset()
    x = images(8, 8)
    masks = network.dropout_masks(x, generator(1))
    compiled = torch.compile(network.forward, backend="eager", fullgraph=True)
    torch.testing.assert_close(
        compiled(x, torch.zeros(2), None, masks), network(x, torch.zeros(2), None, masks), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"channels": (8, 8), "attention": (False,)}, "one entry per level, got 2 and 1"),
        ({"channels": (96,), "attention": (True,)}, "96 is not"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(settings, sentence):
    with pytest.raises(ValidationError, match=sentence):
        PatchUNetSettings(**settings)
