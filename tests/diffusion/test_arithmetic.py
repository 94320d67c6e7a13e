"""What a network is computed in: bfloat16 from end to end, attention in one kernel, weights cast once."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.backbones.ddpmpp import DDPMPlusPlusSettings
from rsd_med.diffusion.backbones.layers import GroupNorm
from rsd_med.diffusion.backbones.monai_unet import MonaiUNetSettings
from rsd_med.diffusion.backbones.patch_unet import PatchUNetSettings
from rsd_med.diffusion.compute import ComputeOptions, set_up
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.operators.precision import all_digits
from tests.virtual_gpu.gpu import VirtualGPU

BACKBONES = {
    "ddpmpp": DDPMPlusPlusSettings(features=16, multipliers=(1, 2), attention=(False, True), residual_blocks=1),
    "monai_unet": MonaiUNetSettings(channels=(8, 16), attention=(False, True)),
    "patch_unet": PatchUNetSettings(channels=(16, 32), attention=(False, True), patch=2),
}
X = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(0))
LEVELS = torch.tensor([0.3, 2.0])


def denoiser(name, precision="bfloat16"):
    options, draws = ComputeOptions(precision=precision), generator_for(0, "w")
    return build_denoiser(BACKBONES[name], DiffusionSettings(hidden_std=0), 2, 0, draws, compute_options=options)


class Operations(TorchDispatchMode):
    """Notes operations with the types and sizes of what they make."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        tensors = answer if isinstance(answer, tuple) else (answer,)
        self.made += [(func._schema.name, t.dtype, t.numel()) for t in tensors if isinstance(t, torch.Tensor)]
        return answer


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_as_large_as_an_image_is_float32_inside(name):
    network = denoiser(name).network
    with Operations() as operations, torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        network(X, LEVELS)
    large = [(what, dtype) for what, dtype, size in operations.made if size >= 8 * 2 * 8 * 8]
    features = [dtype for what, dtype in large if "convolution" in what or "_norm" in what or "silu" in what]
    assert len(features) > 8
    assert set(features) == {torch.bfloat16}


@pytest.mark.parametrize("name", BACKBONES)
def test_attention_is_one_kernel(name):
    with Operations() as operations:
        denoiser(name, "float32")(X, LEVELS)
    kernels = {what for what, _, _ in operations.made}
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in kernels
    assert not {"aten::_softmax", "aten::_safe_softmax"} & kernels


@pytest.mark.parametrize("name", BACKBONES)
def test_bfloat16_answers_and_learns_as_float32_does(name):
    """To the 8 bits that it has: answers within 1 % of their size, gradients of all weights together within 5 %."""
    answers, gradients = [], []
    for precision in ("float32", "bfloat16"):
        network = denoiser(name, precision)
        for parameter in network.parameters():  # the last layers begin as zero
            nn.init.normal_(parameter, 0, 0.05, generator=torch.Generator().manual_seed(parameter.numel()))
        answers.append(network(X, LEVELS))
        torch.autograd.backward((answers[-1] - X).square().mean())
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)  # of the weights themselves
    for (exact, rounded), bound in ((answers, 0.01), (gradients, 0.05)):
        assert 0 < (rounded - exact).norm() < bound * exact.norm()


@pytest.mark.parametrize("name", BACKBONES)
def test_a_settled_network_answers_as_before_and_casts_no_weight(name):
    learner = denoiser(name)
    settled = learner.settled()
    assert torch.equal(settled(X, LEVELS), learner(X, LEVELS))
    assert {p.dtype for p in settled.network.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in learner.network.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in settled.parameters())
    plain = denoiser(name, "float32")
    assert all(torch.equal(a, b) for a, b in zip(plain.settled().parameters(), plain.parameters(), strict=True))


def test_statistics_are_those_of_float32():
    """bfloat16 adds up nothing of a mean of 100 over 4096 places: what is normalised would be far off."""
    norm = GroupNorm(1, 1)
    x = (100 + torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))).bfloat16()
    exact = functional.group_norm(x.double(), 1)
    assert norm(x).dtype == torch.bfloat16
    torch.testing.assert_close(norm(x).double(), exact, rtol=0.01, atol=0.01)


@pytest.mark.parametrize(("precision", "products"), [("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", "ieee")])
def test_a_gpu_multiplies_as_the_protocol_says_and_the_physics_with_all_digits(precision, products, monkeypatch):
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision, torch.backends.cudnn.benchmark
    try:
        set_up(torch.device("cuda"), precision)
        assert (conv.fp32_precision, matmul.fp32_precision) == (products, products)
        with VirtualGPU(), all_digits(torch.ones(1, device="cuda")):
            assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
        assert (conv.fp32_precision, matmul.fp32_precision) == (products, products)
    finally:
        conv.fp32_precision, matmul.fp32_precision, torch.backends.cudnn.benchmark = before
        torch.backends.cudnn.rnn.fp32_precision = before[0]  # torch refuses to tell of one that differs
