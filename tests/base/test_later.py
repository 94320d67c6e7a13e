"""What a GPU is asked without waiting: at once on a CPU, when it has arrived on the virtual GPU."""

import pytest
import torch

from rsd_med.base import later
from rsd_med.base.devices import sent
from rsd_med.base.errors import ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.operators.mri import MultiCoilFourier
from tests.virtual_gpu.gpu import VirtualGPU


def test_on_a_cpu_everything_is_known_at_once():
    assert later.Later(torch.tensor(3.0)).arrived
    with pytest.raises(ValueError, match="no"):
        later.require(torch.tensor(False), lambda: ValueError("no"))
    later.require(torch.tensor(True), lambda: ValueError("yes"))
    later.check(wait=True)


def test_a_gpus_verdict_is_told_when_it_has_arrived_and_nobody_waits():
    with VirtualGPU() as gpu:
        later.require(torch.zeros((), dtype=torch.bool, device="cuda"), lambda: ValueError("no"))
        later.check()  # still on its way
        with pytest.raises(ValueError, match="no"):
            later.check()
        later.check()  # and told once
        assert not gpu.waits
        assert sent(torch.ones(3), "cuda").device.type == "cuda"
        assert not gpu.to_device
        assert gpu.unwaited.total() == 2


def test_a_mask_on_a_gpu_that_has_too_few_lines_is_refused_with_the_key():
    corruption = MultiCoilFourierSettings(acceleration=2, acs_lines=4, further_lines=5).build()
    with VirtualGPU():
        mask = torch.ones(2, 1, 1, 8, dtype=torch.bool, device="cuda")
        maps = torch.ones(2, 1, 8, 8, dtype=torch.complex64, device="cuda")
        corruption.further(MultiCoilFourier(mask, maps), generator_for(0, "further", device="cuda"))
        with pytest.raises(ProtocolError, match=r"corruption\.further_lines: 5 columns cannot be removed"):
            later.check(wait=True)
