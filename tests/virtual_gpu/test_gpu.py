"""The virtual GPU refuses and counts what it should, and nothing else: it is no use if it lets anything pass."""

import pytest
import torch

from rsd_med.corruptions.measurement import Measurement
from rsd_med.operators.linear import Identity
from tests.virtual_gpu.gpu import GPU, DeviceMismatchError, VirtualGPU


@pytest.fixture
def gpu():
    with VirtualGPU() as gpu:
        yield gpu


def ones(*shape, **options):
    return torch.ones(*shape, device="cuda", **options)


def test_it_is_there_for_as_long_as_the_context_lasts():
    before = torch.cuda.is_available(), torch.Generator, torch.autograd.backward
    with VirtualGPU():
        assert torch.cuda.is_available()
        assert ones(2).device == GPU
        assert torch.ones(2).device == torch.device("cpu")
    assert (torch.cuda.is_available(), torch.Generator, torch.autograd.backward) == before


MIXED = {
    "sum": lambda: ones(2) + torch.ones(2),
    "product": lambda: ones(2, 2) @ torch.ones(2, 2),
    "in place": lambda: torch.ones(2).add_(ones(2)),
    "stack": lambda: torch.cat([ones(2), torch.ones(2)]),
    "an index from the GPU": lambda: torch.ones(2)[ones(1, dtype=torch.int64)],
    "values from the CPU": lambda: ones(3).index_put_((torch.tensor([0, 1]).to("cuda"),), torch.ones(2)),
    "where": lambda: torch.where(ones(2) > 0, ones(2), torch.ones(2)),
    "a module": lambda: torch.nn.Linear(2, 2)(ones(1, 2)),
    "a view": lambda: ones(2, 2)[0].flatten() + torch.ones(2),
    "a generator for the GPU": lambda: torch.randn(2, generator=torch.Generator("cuda")),
    "a generator for the CPU": lambda: torch.randn(2, generator=torch.Generator(), device="cuda"),
    "a generator in place": lambda: ones(2).normal_(generator=torch.Generator()),
}


@pytest.mark.parametrize("name", MIXED)
def test_two_devices_in_one_operation_are_refused(gpu, name):
    with pytest.raises(DeviceMismatchError, match=r"two devices|on cuda:0 into|on the CPU into|the generator is on"):
        MIXED[name]()


def test_what_cuda_allows_passes(gpu):
    x = ones(3)
    for y in (x + 1, x * torch.tensor(2.0), x[torch.tensor([0, 1])], x[1:], torch.zeros_like(x), x.new_zeros(2)):
        assert y.device == GPU
    assert torch.zeros(3).copy_(x).device == torch.device("cpu")
    assert torch.randn(3, generator=torch.Generator("cuda"), device="cuda").device == GPU
    assert torch.nn.Linear(3, 2).to("cuda")(x).device == GPU
    assert x.to(torch.float64).device == GPU


def test_numpy_needs_the_cpu(gpu):
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        ones(2).numpy()
    assert ones(2).cpu().numpy().tolist() == [1, 1]
    assert gpu.to_host.total() == 1


def test_backward_stays_on_the_device_and_refuses_as_well(gpu):
    weight, x = torch.nn.Parameter(ones(2)), ones(2)
    torch.autograd.backward((weight * x).square().sum())
    assert weight.grad is not None
    assert weight.grad.device == GPU
    (gradient,) = torch.autograd.grad((weight * x).sum(), weight)
    assert gradient.device == GPU
    with pytest.raises(DeviceMismatchError):
        gradient + torch.ones(2)


WAITS = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x[0]),
    "bool": lambda x: bool((x > 0).any()),
    "tolist": lambda x: x.tolist(),
    "nonzero": lambda x: x.nonzero(),
    "boolean index": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
}


@pytest.mark.parametrize("name", WAITS)
def test_waiting_is_counted_on_the_gpu_alone(gpu, name):
    WAITS[name](torch.ones(4))
    assert gpu.waits.total() == 0
    WAITS[name](ones(4))
    assert gpu.waits.total() == 1
    assert (gpu.to_host.total(), gpu.to_device.total()) == (0, 0)


def test_copies_are_counted_by_their_direction(gpu):
    x = torch.ones(4).to("cuda")
    torch.tensor([1.0, 2.0], device="cuda")
    x[torch.tensor([0, 1])]
    assert gpu.to_device.total() == 3
    x.cpu()
    x.to("cpu")
    torch.zeros(4).copy_(x)
    assert gpu.to_host.total() == 3
    x.to("cuda"), x.to(torch.float64), torch.ones(2).cpu()
    assert (gpu.to_device.total(), gpu.to_host.total()) == (3, 3)


def test_each_is_counted_under_the_line_of_the_product(gpu):
    measurement = Measurement(ones(2, 1, 4, 4), Identity(), ones(2), ones(2), ("a", "b"))
    _ = measurement[torch.zeros(1, dtype=torch.int64, device="cuda")]
    assert gpu.to_host.total() == 1
    assert next(iter(gpu.to_host)).startswith("rsd_med/corruptions/measurement.py:")
