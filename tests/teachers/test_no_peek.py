"""No peeking: what was not acquired, and the clean image, reach neither data, loss, gradients nor weights."""

import copy

import pytest
import torch

from rsd_med.base.randomness import generator_for
from rsd_med.calibration.map_settings import CoilMapSettings
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import MultiCoilFourierSettings
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.measurements import MeasurementDataset, collate
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source
from rsd_med.diffusion.backbones import MonaiUNetSettings
from rsd_med.diffusion.denoiser import DiffusionSettings, build_denoiser
from rsd_med.teachers.ambient_fourier import AmbientFourierSettings

COUNT = 3


class Scans(Source):
    """Scans in memory."""

    def __init__(self, scans):
        self.scans = scans

    def __len__(self):
        return len(self.scans)

    def __getitem__(self, index):
        return self.scans[index]

    def shape(self, index):
        return tuple(self.scans[index].kspace.shape)

    def id(self, index):
        return self.scans[index].id


def knees(mask, keep_maps):
    """Simulated scans; with ``mask: file`` every third column outside the centre was never acquired."""
    scans = []
    for scan in KneePhantomSettings(num_images=COUNT, size=24, coils=2, supersample=1).build(seed=5):
        acquired = torch.ones(24, dtype=torch.bool)
        if mask == "file":
            acquired = (torch.arange(24) % 3 > 0) | ((torch.arange(24) - 12).abs() < 5)
        maps = scan.maps if keep_maps else None
        scans.append(Scan(scan.id, torch.where(acquired, scan.kspace, 0), acquired, maps, scan.acs_lines))
    return Scans(scans)


def replaced(source, dataset, value):
    """The same scans with other k-space wherever the dataset's masks did not measure."""
    scans = []
    for index, scan in enumerate(source.scans):
        unseen = ~dataset[index].operator.mask[0, 0, 0]
        assert unseen.any()
        other = value(scan.kspace)
        kspace = torch.where(unseen, other, scan.kspace)
        assert not torch.equal(kspace, scan.kspace)
        scans.append(Scan(scan.id, kspace, scan.acquired, scan.maps, scan.acs_lines))
    return Scans(scans)


def random_numbers(kspace):
    return 100 * torch.randn(kspace.shape, dtype=kspace.dtype, generator=torch.Generator().manual_seed(77))


def not_numbers(kspace):
    return torch.full_like(kspace, complex(float("nan"), float("inf")))


@pytest.fixture(scope="module")
def network():
    settings = MonaiUNetSettings(channels=(8, 8), attention=(False, False))
    denoiser = build_denoiser(settings, DiffusionSettings(precision="float32"), 2, 1, generator_for(0, "weights"))
    source = generator_for(0, "perturb")
    for parameter in denoiser.parameters():  # MONAI's last layer begins at zero, and would hide a difference
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=source)
    return denoiser


def learn(denoiser, dataset, corruption):
    """Loss and gradients of one batch, measurements, and the weights after three steps."""
    objective = AmbientFourierSettings().build(corruption)
    measurement = collate([dataset[i] for i in range(len(dataset))])
    denoiser = copy.deepcopy(denoiser)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=1e-3)
    kept = [measurement.data, measurement.scale, measurement.operator.maps, measurement.operator.mask]
    for step in range(3):
        loss = objective(denoiser, measurement, generator_for(0, "step", step))
        loss.mean().backward()
        kept += [loss.detach(), *(parameter.grad.clone() for parameter in denoiser.parameters())]
        optimiser.step()
        optimiser.zero_grad()
    return kept + [parameter.detach() for parameter in denoiser.parameters()]


@pytest.mark.parametrize("fill", [random_numbers, not_numbers])
@pytest.mark.parametrize("mask", ["draw", "file"])
@pytest.mark.parametrize("keep_maps", [True, False])
def test_unacquired_k_space_and_the_reference_change_nothing(network, mask, keep_maps, fill, monkeypatch):
    corruption = MultiCoilFourierSettings(acceleration=1.5, acs_lines=8, further_lines=3, mask=mask, sigma=0.01).build()

    def measurements(source):
        maps = CoilMapSettings(kind="file" if keep_maps else "walsh", cache=False)
        return MeasurementDataset(source, corruption, 3, CalibrationSettings(maps=maps, check_maps=False))

    source = knees(mask, keep_maps)
    original = measurements(source)
    other = measurements(replaced(source, original, fill))
    if mask == "draw":  # the clean image, which is for evaluation alone, is another one
        assert not torch.equal(original.reference(0), other.reference(0))
    monkeypatch.setattr(MeasurementDataset, "reference", lambda *_: pytest.fail("training asked for a clean image"))
    found, expected = (learn(network, dataset, corruption) for dataset in (other, original))
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert all(bool(torch.isfinite(torch.view_as_real(a) if a.is_complex() else a).all()) for a in found)


def test_acquired_k_space_does_change_the_loss(network):
    """The test above can fail: one measured number is enough."""
    corruption = MultiCoilFourierSettings(acceleration=1.5, acs_lines=8, further_lines=3).build()
    source = knees("draw", keep_maps=True)
    original = MeasurementDataset(source, corruption, seed=3)
    column = int(original[0].operator.mask[0, 0, 0].nonzero()[0])
    kspace = source.scans[0].kspace.clone()
    kspace[0, 3, column] += 0.1
    scans = [Scan(source.id(0), kspace, source.scans[0].acquired, source.scans[0].maps), *source.scans[1:]]
    changed = MeasurementDataset(Scans(scans), corruption, seed=3)
    found, expected = (learn(network, dataset, corruption)[4] for dataset in (changed, original))
    assert found[0] != expected[0]
    assert torch.equal(found[1:], expected[1:])
