"""Networks as programs answer as the house's own way of asking them does, whatever network is inside."""

import numpy as np
import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import Measurement
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.diffusion.kinds import BACKBONES
from rsd_med.diffusion.samplers.heun import HeunSettings
from rsd_med.diffusion.view import View
from rsd_med.operators.channels import to_channels
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.sampling import SamplingMask
from rsd_med.sharing import programs
from rsd_med.sharing.bundle_draw import heun
from rsd_med.sharing.graphs import Conditions, ReconstructorGraph, StudentGraph, TeacherGraph
from rsd_med.sharing.kspace import masked_in_kspace
from rsd_med.sharing.programs import Model, write_onnx, write_torchscript
from tests.inverse.scenes import untrained_reconstructor

SMALL = {
    "monai_unet": {"channels": (8, 8), "attention": (False, True), "norm_groups": 4},
    "ddpmpp": {
        "features": 8,
        "multipliers": (1, 1),
        "attention": (False, True),
        "residual_blocks": 1,
        "gated": "published",
    },
    "patch_unet": {"patch": 2, "channels": (8,), "attention": (True,)},
}
"""Settings that keep networks small; a kind that is not here is tried as it is by default."""


def denoiser_of(kind, channels, context):
    """A network that answers something: those of the house answer zero at first."""
    settings = BACKBONES[kind].model_validate({"kind": kind, **SMALL.get(kind, {})})
    denoiser = build_denoiser(settings, DiffusionSettings(hidden_std=0.1), channels, context, generator_for(0, "net"))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in denoiser.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    return denoiser.requires_grad_(False)


def scan(items, coils, height, width, plane=False):
    """An operator of k-space, and the same as others store it."""
    generator = torch.Generator().manual_seed(2)
    maps = torch.randn(items, coils, height, width, generator=generator, dtype=torch.complex64)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    mask = torch.rand(items, 1, height if plane else 1, width, generator=generator) < 0.5
    stored = mask.float().expand(-1, -1, height, width).contiguous()
    return MultiCoilFourier(mask, maps), Conditions(stored, torch.stack([maps.real, maps.imag], dim=1))


@pytest.mark.parametrize(("height", "width", "plane"), [(6, 8, False), (7, 5, True)])
def test_what_is_shown_of_a_scan_is_what_the_operator_shows(height, width, plane):
    operator, conditions = scan(2, 3, height, width, plane)
    x = torch.randn(2, 2, height, width, generator=torch.Generator().manual_seed(3))
    expected = View(operator.gram).project(x)
    assert torch.allclose(masked_in_kspace(x, conditions.mask, conditions.coil_maps), expected, atol=2e-6)


def differences(model, answers, operator, conditions, z):
    """How far each answer is from the house's own way of asking a student."""
    student = model.graph
    expected = student.few_steps(student.denoiser, View(operator.gram, conditions.mask), z)
    return {form: float((answer - expected).abs().max() / expected.abs().max()) for form, answer in answers.items()}


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_network_can_be_passed_on(tmp_path, kind):
    """Two images of three coils are traced; three of five are asked for, in the larger program of another size."""
    _, traced = scan(2, 3, 8, 8)
    graph = StudentGraph(denoiser_of(kind, 2, 1), FewSteps(2.5, further_levels=(0.2,)), 2, (8, 8))
    assert write_torchscript(Model(graph, traced), tmp_path / "student.ts") is None
    model = Model(graph, traced, any_size=True)
    operator, asked = scan(3, 5, 16, 12)
    z = torch.randn(3, 2, 16, 12, generator=torch.Generator().manual_seed(4))
    answers = {"torch.export": model.program.module()(z, asked.mask, asked.coil_maps)}
    assert max(differences(model, answers, operator, asked, z).values()) < 1e-4


def test_onnx_answers_and_says_what_it_is(tmp_path):
    """Each kind of network is tried by python -m benchmarks.sharing: the exporter takes its time."""
    import onnxruntime

    _, traced = scan(2, 3, 8, 8)
    model = Model(StudentGraph(denoiser_of("patch_unet", 2, 1), FewSteps(2.5), 2, (8, 8)), traced)
    write_onnx(model, tmp_path / "student.onnx", "what it is")
    operator, asked = scan(3, 5, 8, 8)
    z = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(4))
    session = onnxruntime.InferenceSession(tmp_path / "student.onnx", providers=["CPUExecutionProvider"])
    fed = {"z": z.numpy(), **{name: tensor.numpy() for name, tensor in asked.tensors().items()}}
    answers = {"ONNX": torch.from_numpy(session.run(None, fed)[0])}
    assert max(differences(model, answers, operator, asked, z).values()) < 1e-4
    assert session.get_modelmeta().description == "what it is"


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*:FutureWarning")
def test_a_reconstructor_draws_in_another_program_as_it_does_here(tmp_path):
    """ONNX of it is tried by python -m benchmarks.sharing: the exporter takes minutes."""
    network = untrained_reconstructor(8).network
    network.spreads.copy_(torch.tensor([2.0, 1.5, 1.0, 0.5]))
    _, traced = scan(2, 3, 8, 8)
    model = Model(ReconstructorGraph(network, 2, (8, 8)).requires_grad_(False), traced)
    assert write_torchscript(model, tmp_path / "reconstructor.ts") is None
    operator, asked = scan(3, 5, 8, 8)
    generator = torch.Generator().manual_seed(4)
    data = operator(torch.randn(3, 1, 8, 8, dtype=torch.complex64, generator=generator))
    sigma, z = torch.tensor([0.01, 0.02, 0.03]), torch.randn(3, LATENTS, 8, 8, generator=generator)
    measurement = Measurement(data, operator, sigma, torch.ones(3), ("a", "b", "c"))
    expected = to_channels(network.draw(measurement, z[:, None])[:, 0])
    program = torch.jit.load(tmp_path / "reconstructor.ts")
    answer = program(to_channels(measurement.image()), sigma, z, asked.mask, asked.coil_maps)
    assert float((answer - expected).abs().max() / expected.abs().max()) < 1e-4


def test_pictures_end_at_black_and_white():
    denoiser = denoiser_of("monai_unet", 3, 0)
    z = 5 * torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    expected = FewSteps(2.5, clip=True)(denoiser, View(), z)
    assert expected.abs().max() == 1
    assert torch.equal(StudentGraph(denoiser, FewSteps(2.5, clip=True), 3, (8, 8))(z), expected)


def test_a_walk_of_the_bundles_script_is_the_samplers():
    denoiser = denoiser_of("monai_unet", 1, 1)
    mask = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(5)) < 0.6).float()
    graph = TeacherGraph(denoiser, FewSteps(2.5), 1, (8, 8))
    noise = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    view = View(SamplingMask(mask.bool()), mask)
    expected = HeunSettings(steps=4).sample(denoiser, view, noise)
    assert torch.allclose(heun(graph, noise, [mask], 4), expected, atol=1e-4 * float(expected.abs().max()))


def test_a_program_that_answers_otherwise_is_not_written(monkeypatch):
    model = Model(StudentGraph(denoiser_of("monai_unet", 1, 0), FewSteps(2.5), 1, (8, 8)), Conditions())
    with pytest.raises(programs.RsdMedError, match="differs from the network by"):
        programs._require_agreement(model, "ONNX", lambda z: 1.001 * model.graph(z))
    assert np.isfinite(programs.AGREEMENT)
