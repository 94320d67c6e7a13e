"""Memory does not grow with the number of images that are looked at. Counted, not measured."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.experiment import Experiment
from rsd_med.metrics import inception
from rsd_med.metrics.inception import InceptionFeatures
from rsd_med.metrics.pca import PCAFeatures
from rsd_med.metrics.random_conv import RandomConvFeatures
from rsd_med.protocol import load_protocol
from rsd_med.runs.sampling_operators import load_sampling_operators, save_sampling_operators
from rsd_med.training.batches import MeasurementPool
from tests.apps.tiny_run import PROTOCOL


class LargestTensor(TorchDispatchMode):
    """Note the bytes of the largest tensor that is made inside."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        sizes = [leaf.untyped_storage().nbytes() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.bytes = max([self.bytes, *sizes])
        return made


def images(count, side=16):
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def inception_like(monkeypatch):
    """Inception's front, resampling to 299 x 299, before a network of one layer."""
    monkeypatch.setattr(inception, "AT_ONCE", 4)
    extractor = InceptionFeatures.__new__(InceptionFeatures)
    extractor._network = torch.nn.Sequential(torch.nn.AvgPool2d(299), torch.nn.Flatten())
    return extractor


EXTRACTORS = {
    "random_conv": (lambda _: RandomConvFeatures(), 256),
    "pca": (lambda _: PCAFeatures(images(32), 8), 256),
    "inception": (inception_like, 4),
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_an_extractor_looks_at_a_few_images_at_a_time(name, monkeypatch):
    make, at_once = EXTRACTORS[name]
    extractor, many = make(monkeypatch), images(3 * at_once + 1)
    with LargestTensor() as batch, torch.no_grad():
        extractor(many[:at_once])
    with LargestTensor() as all_of_them, torch.no_grad():
        features = extractor(many)
    assert all_of_them.bytes == batch.bytes > 0
    assert torch.equal(features, torch.cat([extractor(part) for part in many.split(64)]))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    path = tmp_path_factory.mktemp("memory") / "tiny.yaml"
    many = PROTOCOL.replace("num_images: 12", "num_images: 200").replace("monitor_images: 8", "monitor_images: 200")
    path.write_text(many)
    return Experiment(load_protocol(path), path.parent)


def test_the_monitor_holds_a_batch_of_measurements(experiment):
    """Their images and features are those of all of them at once."""
    pool, corruption, extractor = experiment.measurements, experiment.corruption, experiment.extractor
    peaks = []
    for count in (64, 200):
        part = MeasurementPool(pool.dataset, pool.indices[:count], pool.device)
        with LargestTensor() as made:
            monitor = ProximalMonitor(part, corruption, extractor, seed=0)
            monitor.distance(torch.zeros(200, 2, 16, 16))
        peaks.append(made.bytes)
    # The features of 200 images are all that grows: 96 numbers of eight bytes for each.
    assert peaks[1] <= max(peaks[0], 200 * 96 * 8)
    whole = ProximalMonitor(pool[:], corruption, extractor, seed=0)
    assert torch.equal(whole._reference, monitor._reference)
    drawn = torch.rand(90, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    assert whole.distance(drawn) == monitor.distance(drawn)


def test_only_the_operators_that_fit_are_read_to_be_stored(experiment, tmp_path, monkeypatch):
    from rsd_med.runs import sampling_operators

    pool = experiment.measurements
    item = sum(tensor.nbytes for tensor in pool[:1].operator.state().values())
    monkeypatch.setattr(sampling_operators, "LIMIT_BYTES", 3 * item)
    read = []
    monkeypatch.setattr(pool.dataset, "expect", lambda indices: read.append(len(indices)))
    save_sampling_operators(tmp_path / "operators.safetensors", pool)
    assert read == [1, 3]
    stored = load_sampling_operators(tmp_path / "operators.safetensors", torch.device("cpu"))
    assert torch.equal(stored.operator.maps, pool[:3].operator.maps)
