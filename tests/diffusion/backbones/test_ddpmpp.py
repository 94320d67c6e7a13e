"""DDPM++: the published sizes, any image size, dropout that only learning networks have, and gates."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.backbones import DDPMPlusPlus, DDPMPlusPlusSettings, Encoder, count_parameters
from rsd_med.diffusion.backbones.layers import Attention, Convolution, ResidualBlock, dropped, embed_level, group_norm
from rsd_med.diffusion.denoiser import Denoiser, DiffusionSettings, build_denoiser
from tests.diffusion.gaussian import generator

SMALL = DDPMPlusPlusSettings(
    features=8, multipliers=(1, 2, 2), attention=(False, True, False), residual_blocks=1, dropout=0.3
)


def awake(network):
    """The network with its zero layers filled: a fresh one answers zero whatever it sees."""
    source = generator(7)
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=source)
    return network


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "gated"])
def network(request):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return awake(SMALL.model_copy(update={"gated": request.param}).build(3, 2))


def images(*sides, count=2, channels=3):
    return torch.randn(count, channels, *sides, generator=generator())


@pytest.mark.parametrize(
    ("multipliers", "attention", "millions"),
    [((2, 2, 2), (False, True, False), 55.7), ((1, 2, 2, 2), (False, False, True, False), 61.8)],
    ids=["CIFAR-10", "FFHQ at 64"],
)
def test_the_published_networks_have_their_published_sizes(multipliers, attention, millions):
    settings = DDPMPlusPlusSettings(multipliers=multipliers, attention=attention)
    with torch.device("meta"):
        network = settings.build(3, 3)
    assert count_parameters(network) == pytest.approx(millions * 1e6, rel=0.01)


def test_the_defaults_are_those_of_cifar_10():
    assert DDPMPlusPlusSettings() == DDPMPlusPlusSettings(
        features=128, multipliers=(2, 2, 2), attention=(False, True, False), residual_blocks=4, dropout=0.0, gated=False
    )


@pytest.mark.parametrize("sides", [(8, 8), (12, 8), (5, 8), (8, 5), (7, 9), (13, 11)])
def test_any_size_goes_in_and_comes_out(network, sides):
    found = network(images(*sides), torch.zeros(2))
    assert found.shape == (2, 2, *sides)
    assert found.isfinite().all()
    assert found.std() > 0


def test_other_sides_are_reflected_and_cropped(network):
    x = images(7, 8)
    reflected = torch.cat([x, x[..., -2:-1, :]], dim=-2)
    assert torch.equal(network(x, torch.zeros(2)), network(reflected, torch.zeros(2))[..., :7, :])


def test_the_first_answer_is_zero():
    assert not SMALL.build(3, 2)(images(8, 8), torch.zeros(2)).any()


def test_gradients_are_finite_and_reach_every_pixel_and_every_weight(network):
    x = images(5, 7).requires_grad_()
    found = network(x, torch.tensor([0.3, -1.2]), torch.ones(2, 9), network.dropout_masks(x, generator(3)))
    gradients = torch.autograd.grad(found.square().sum(), [x, *network.parameters()])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert (gradients[0] != 0).all()
    assert all(bool(gradient.any()) for gradient in gradients)


def test_weights_that_are_not_told_of_augmentation_still_get_a_gradient(network):
    """So that the optimiser moves all of them in one call, whether a protocol augments or not: by zero here."""
    found = network(images(8, 8), torch.zeros(2))
    (gradient,) = torch.autograd.grad(found.sum(), [network.labels.weight])
    assert not gradient.any()


@pytest.mark.parametrize("told", ["level", "augmentation"])
def test_what_the_network_is_told_is_heard(network, told):
    same = images(8, 8)[:1].expand(2, -1, -1, -1)
    levels = torch.tensor([-1.0, 1.0]) if told == "level" else torch.zeros(2)
    labels = torch.eye(9)[:2] if told == "augmentation" else torch.zeros(2, 9)
    one, other = network(same, levels, labels)
    assert not torch.allclose(one, other, atol=1e-4)


def test_no_augmentation_and_labels_of_zero_are_the_same(network):
    x = images(8, 8)
    assert torch.equal(network(x, torch.zeros(2)), network(x, torch.zeros(2), torch.zeros(2, 9)))


def test_items_do_not_hear_of_one_another(network):
    x, levels = images(8, 8, count=3), torch.tensor([-1.0, 0.0, 1.0])
    apart = torch.cat([network(x[i : i + 1], levels[i : i + 1]) for i in range(3)])
    assert torch.allclose(network(x, levels), apart, atol=1e-5)


# --- dropout --------------------------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_drops_its_share():
    x = torch.full((50, 40, 50), 3.0)
    mask = generator().uniform(*x.shape) >= 0.13
    found = dropped(x, 0.13, mask)
    kept = found != 0
    assert float(kept.float().mean()) == pytest.approx(0.87, abs=0.005)
    assert torch.allclose(found[kept], torch.tensor(3.0 / 0.87))
    assert dropped(x, 0.13, None) is x


def test_only_a_network_that_learns_drops_and_neither_mode_of_torch_matters(network):
    x, levels = images(8, 8), torch.zeros(2)
    asked = network.train()(x, levels)
    assert torch.equal(asked, network.eval()(x, levels))
    learning = network(x, levels, None, network.dropout_masks(x, generator(1)))
    assert not torch.allclose(asked, learning, atol=1e-4)


def test_dropout_comes_from_its_generator_alone(network):
    x, levels = images(8, 8), torch.zeros(2)
    before = torch.random.get_rng_state()
    found = network(x, levels, None, network.dropout_masks(x, generator(1)))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(found, network(x, levels, None, network.dropout_masks(x, generator(1))))
    assert not torch.equal(found, network(x, levels, None, network.dropout_masks(x, generator(2))))


def test_dropout_is_the_same_however_a_batch_is_divided(network):
    x, levels = images(8, 8, count=4), torch.zeros(4)
    whole = network(x, levels, None, network.dropout_masks(x, generator(1)))
    parts = []
    for number in range(2):
        mine = slice(2 * number, 2 * number + 2)
        draws = generator(1)
        with draws.part(number, 2, 2):
            masks = network.dropout_masks(x[mine], draws)
        parts.append(network(x[mine], levels[mine], None, masks))
    assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


def test_a_denoiser_that_learns_shares_its_weights_and_leaves_the_other_as_it_is():
    denoiser = Denoiser(awake(SMALL.build(3, 3)))
    x, sigma = images(8, 8), torch.full((2,), 0.5)
    asked = denoiser(x, sigma)
    learner = denoiser.learning(generator(1), torch.ones(2, 9))
    assert not torch.allclose(learner(x, sigma), asked, atol=1e-4)
    assert torch.equal(denoiser(x, sigma), asked)
    assert torch.equal(copy.deepcopy(denoiser)(x, sigma), asked)
    assert all(a is b for a, b in zip(learner.parameters(), denoiser.parameters(), strict=True))
    learner(x, sigma).sum().backward()
    assert all(parameter.grad is not None for parameter in denoiser.parameters())


def test_a_network_without_labels_refuses_to_be_told():
    denoiser = Denoiser(nn.Identity())
    assert denoiser.learning(generator()) is denoiser
    with pytest.raises(ValueError, match="cannot be told how images were augmented"):
        denoiser.learning(generator(), torch.zeros(2, 9))


def test_the_same_seed_builds_the_same_network():
    def build(seed):
        return build_denoiser(SMALL, DiffusionSettings(), 3, 1, generator_for(seed, "weights"))

    one, same, other = build(0).state_dict(), build(0).state_dict(), build(1).state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


# --- layers ---------------------------------------------------------------------------------------------------------


def test_a_gated_convolution_is_the_papers():
    layer = Convolution(3, 4, gated=True)
    nn.init.normal_(layer.gates.bias, generator=generator())
    x = images(6, 5)
    expected = nn.functional.conv2d(x, layer.weights.weight, layer.weights.bias, padding=1) / (
        1 + (-nn.functional.conv2d(x, layer.gates.weight, layer.gates.bias, padding=1)).exp()
    )
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_gates_can_switch_off_what_is_missing():
    """A product of image and mask, which no sum of the two can be."""
    layer = Convolution(2, 1, gated=True)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    layer.weights.weight.data[0, 0, 1, 1] = 1.0  # the pixel itself
    layer.gates.weight.data[0, 1, 1, 1], layer.gates.bias.data[0] = 40.0, -20.0  # open where the mask is 1
    image, mask = images(8, 8, channels=1), (images(8, 8, channels=1) > 0).float().flip(-1)
    assert torch.allclose(layer(torch.cat([image, mask], 1)), image * mask, atol=1e-7)


def test_a_residual_block_begins_as_its_input():
    """Its branch begins as zero: what is left is the input over √2, and twice the variance comes with the branch."""
    block = ResidualBlock(64, 64, 8)
    x = torch.randn(4, 64, 8, 8, generator=generator())
    found = block(x, torch.zeros(4, 8))
    assert torch.allclose(found, x * 0.5**0.5)


@pytest.mark.parametrize(("resample", "sides"), [("down", (4, 3)), ("up", (16, 12)), (None, (8, 6))])
def test_resampling_takes_means_and_repeats(resample, sides):
    block = ResidualBlock(4, 4, 8, resample=resample)
    x = images(8, 6, channels=4)
    resampled = {
        "down": x.unflatten(2, (4, 2)).unflatten(4, (3, 2)).mean((3, 5)) if resample == "down" else x,
        "up": x.repeat_interleave(2, 2).repeat_interleave(2, 3),
        None: x,
    }[resample]
    found = block(x, torch.zeros(2, 8))
    assert found.shape[2:] == sides
    assert torch.allclose(found, block.skip(resampled) * 0.5**0.5, atol=1e-6)


def test_attention_is_softmax_over_all_places():
    layer = awake(Attention(8))
    x = images(3, 5, channels=8).double()
    layer = layer.double()
    hidden = layer.query_key_value(layer.norm(x)).flatten(2)
    query, key, value = hidden[:, :8], hidden[:, 8:16], hidden[:, 16:]
    weights = torch.einsum("bcq,bck->bqk", query, key / 8**0.5).softmax(2)
    attended = torch.einsum("bqk,bck->bcq", weights, value).reshape(x.shape)
    assert torch.allclose(layer(x), (x + layer.answer(attended)) * 0.5**0.5, atol=1e-10)


def test_levels_are_embedded_as_waves():
    found = embed_level(torch.tensor([0.7]), 6)[0]
    frequencies = torch.tensor([1.0, 1e-2, 1e-4])
    assert torch.allclose(found, torch.cat([(0.7 * frequencies).cos(), (0.7 * frequencies).sin()]))


@pytest.mark.parametrize(("features", "groups"), [(128, 32), (256, 32), (384, 32), (8, 2), (20, 5), (4, 1), (2, 1)])
def test_groups_divide_the_features(features, groups):
    assert group_norm(features).num_groups == groups


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"multipliers": (1, 2), "attention": (False,)}, "one entry per level"),
        ({"features": 6}, "multiple of 4"),
        ({"dropout": 1.0}, "less than 1"),
        ({"multipliers": (), "attention": ()}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(settings, sentence):
    with pytest.raises(ValidationError, match=sentence):
        DDPMPlusPlusSettings(**settings)


@pytest.mark.parametrize(("multipliers", "attention"), [((1,), (True,)), ((3, 1), (False, False))])
def test_settings_that_are_accepted_can_be_built(multipliers, attention):
    network = DDPMPlusPlusSettings(features=4, multipliers=multipliers, attention=attention).build(3, 2)
    assert isinstance(network, DDPMPlusPlus)
    assert network(torch.zeros(1, 3, 4, 4), torch.zeros(1)).shape == (1, 2, 4, 4)


def test_a_network_that_learns_compiles_to_one_graph(network):
    """Random numbers inside would break the graph at every block, or end the compiler."""
    x, levels = images(8, 8), torch.zeros(2)
    masks = network.dropout_masks(x, generator(1))
    explained = torch._dynamo.explain(network.forward)(x, levels, None, masks)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0)


@pytest.mark.parametrize("sides", [(8, 8), (5, 7)])
def test_features_are_what_the_middle_answers(network, sides):
    assert isinstance(network, Encoder)
    x, label, answers = images(*sides), torch.tensor([0.3, -0.7]), []
    hook = network.middle[-1].register_forward_hook(lambda module, args, answer: answers.append(answer))
    network(x, label)
    hook.remove()
    assert torch.equal(network.features(x, label), answers[0])
    assert answers[0].shape == (2, 16, 2, 2)
