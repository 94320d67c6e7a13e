"""Networks: any image size, and settings that are refused before MONAI would fail on them."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from rsd_med.diffusion.backbones import Encoder, MonaiUNet, MonaiUNetSettings
from tests.diffusion.gaussian import generator


@pytest.fixture(scope="module")
def network():
    """Three levels, and weights that are not zero in the last layer as MONAI's first ones are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings = MonaiUNetSettings(channels=(8, 8, 16), attention=(False, False, True))
        network = settings.build(3, 2)
        for parameter in network.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape)
    return network.eval()


def test_the_network_comes_without_the_rest_of_monai():
    """Which would be four seconds more, for every command that reads a run."""
    program = (
        "import sys\n"
        "from rsd_med.diffusion.backbones import MonaiUNetSettings\n"
        "MonaiUNetSettings(channels=(8,), attention=(True,)).build(2, 2)\n"
        "print(sorted({'matplotlib', 'pandas', 'scipy', 'torchvision'} & set(sys.modules)), 'monai' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[] True"


@pytest.mark.parametrize("sides", [(8, 8), (12, 8), (5, 8), (8, 5), (7, 9), (3, 3), (13, 11)])
def test_any_size_goes_in_and_comes_out(network, sides):
    x = torch.randn(2, 3, *sides, generator=generator())
    found = network(x, torch.zeros(2))
    assert found.shape == (2, 2, *sides)
    assert torch.isfinite(found).all()
    assert found.std() > 0


def test_sides_that_divide_are_not_padded(network):
    x = torch.randn(1, 3, 8, 12, generator=generator())
    assert torch.equal(network(x, torch.zeros(1)), network.net(x, torch.zeros(1)))


def test_other_sides_are_reflected_and_cropped(network):
    x = torch.randn(1, 3, 7, 8, generator=generator())
    reflected = torch.cat([x, x[..., -2:-1, :]], dim=-2)
    assert torch.equal(network(x, torch.zeros(1)), network.net(reflected, torch.zeros(1))[..., :7, :])


def test_gradients_reach_every_pixel_and_every_weight(network):
    x = torch.randn(1, 3, 5, 7, generator=generator()).requires_grad_()
    found = network(x, torch.full((1,), 0.3))
    gradients = torch.autograd.grad(found.square().sum(), [x, *network.parameters()])
    assert (gradients[0] != 0).all()
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_the_noise_level_is_heard(network):
    x = torch.randn(2, 3, 8, 8, generator=generator())
    same = x[:1].expand(2, -1, -1, -1)
    low, high = network(same, torch.tensor([-1.0, 1.0]))
    assert not torch.allclose(low, high, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"channels": (8, 8), "attention": (False,)}, "one entry per level"),
        ({"channels": (8, 12), "attention": (False, False)}, "divisible by norm_groups"),
        ({"channels": (24, 16), "attention": (True, False), "head_channels": 16}, "divisible by head_channels"),
        ({"channels": (8, 24), "attention": (False, False), "head_channels": 16}, "divisible by head_channels"),
    ],
)
def test_settings_that_cannot_be_built_are_refused(settings, sentence):
    with pytest.raises(ValidationError, match=sentence):
        MonaiUNetSettings(**settings)


@pytest.mark.parametrize(
    ("channels", "attention"), [((8,), (False,)), ((8, 8), (False, False)), ((24, 8), (False, True))]
)
def test_settings_that_are_accepted_can_be_built(channels, attention):
    """MONAI's middle block attends whatever the levels do: narrow last levels have one head."""
    network = MonaiUNetSettings(channels=channels, attention=attention, head_channels=16).build(3, 2)
    assert network(torch.zeros(1, 3, 4, 4), torch.zeros(1)).shape == (1, 2, 4, 4)


def test_the_defaults_can_be_built():
    settings = MonaiUNetSettings()
    assert isinstance(settings.build(3, 2), MonaiUNet)


@pytest.mark.parametrize("sides", [(8, 8), (5, 7)])
def test_features_are_what_the_middle_answers(network, sides):
    assert isinstance(network, Encoder)
    x, label, answers = torch.randn(2, 3, *sides, generator=generator()), torch.tensor([0.3, -0.7]), []
    hook = network.net.middle_block.register_forward_hook(lambda module, args, answer: answers.append(answer))
    network(x, label)
    hook.remove()
    assert torch.equal(network.features(x, label), answers[0])
    assert answers[0].shape == (2, 16, 2, 2)
