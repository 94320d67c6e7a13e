from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from rsd_med.base.errors import DataError
from rsd_med.experiment import Experiment
from rsd_med.metrics.inception import FID_CLASSES, InceptionFeatures, InceptionSettings
from rsd_med.protocol import load_protocol
from rsd_med.protocol.packaged import PROTOCOLS
from tests.metrics.damage import generator


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Inception-v3 with fixed weights of our own, lively enough for its features to differ."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        network = models.inception_v3(weights=None, aux_logits=True, init_weights=False)
    network = network.to_empty(device="cpu").eval()
    drawn = generator(1)
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(generator=drawn).mul_((2 / tensor[0].numel()) ** 0.5)
        else:
            tensor.fill_(float(name.endswith(("bn.weight", "running_var"))))
    return network


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> dict[str, Path]:
    """The same convolutions as a file of torchvision and as a file of the original FID network."""
    folder = tmp_path_factory.mktemp("weights")
    state = network.state_dict()
    torch.save(state, folder / "torchvision.pth")
    fid = {key: value for key, value in state.items() if "AuxLogits" not in key and "num_batches" not in key}
    fid["fc.weight"], fid["fc.bias"] = torch.zeros(FID_CLASSES, 2048), torch.zeros(FID_CLASSES)
    torch.save(fid, folder / "fid.pth")
    return {"torchvision": folder / "torchvision.pth", "fid": folder / "fid.pth"}


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(1, 3, 32, 32, generator=generator(2)) * 2.4 - 1.2


def test_torchvision_file_gives_torchvisions_pooled_features(network, weights, image):
    extractor = InceptionSettings(weights="torchvision.pth").build(base_dir=weights["torchvision"].parent)
    features = extractor(image)
    assert features.shape == (1, extractor.dimension)
    assert features.dtype == torch.float64
    assert extractor.name.startswith("inception-v3-torchvision-")
    levels = (image * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    resized = F.interpolate(levels.float(), size=(299, 299), mode="bilinear", align_corners=False) / 127.5 - 1
    pooled = []
    with network.avgpool.register_forward_hook(lambda _m, _i, out: pooled.append(out.flatten(1))), torch.no_grad():
        network(resized)
    torch.testing.assert_close(features.float(), pooled[0], rtol=1e-4, atol=1e-5)


def test_fid_file_pools_without_its_padding(weights, image):
    """Its averages divide by the pixels that are there, and its last block takes the maximum."""
    extractor = InceptionFeatures(weights["fid"])
    assert extractor.name.startswith("inception-v3-fid-")
    blocks = dict(extractor._network.named_children())
    seen = {}
    handles = [
        handle
        for name in ("Mixed_5b", "Mixed_7b", "Mixed_7c")
        for handle in (
            blocks[name].register_forward_pre_hook(lambda _m, i, name=name: seen.update({name: i[0]})),
            blocks[name].branch_pool.convolution.register_forward_pre_hook(
                lambda _m, i, name=name: seen.update({f"{name} pooled": i[0]})
            ),
        )
    ]
    extractor(image)
    for handle in handles:
        handle.remove()
    for name in ("Mixed_5b", "Mixed_7b"):
        there = F.avg_pool2d(torch.ones_like(seen[name]), 3, stride=1, padding=1)
        expected = F.avg_pool2d(seen[name], 3, stride=1, padding=1) / there
        torch.testing.assert_close(seen[f"{name} pooled"], expected)
    torch.testing.assert_close(seen["Mixed_7c pooled"], F.max_pool2d(seen["Mixed_7c"], 3, stride=1, padding=1))


def test_a_grey_image_is_repeated(weights, image):
    extractor = InceptionFeatures(weights["torchvision"])
    grey = image[:, :1]
    torch.testing.assert_close(extractor(grey), extractor(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_bad_weights_are_one_sentence(tmp_path):
    with pytest.raises(DataError, match=r"'none\.pth' does not exist"):
        InceptionSettings(weights="none.pth").build(base_dir=tmp_path)
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(DataError, match="cannot be read"):
        InceptionFeatures(tmp_path / "text.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match="holds no Inception-v3"):
        InceptionFeatures(tmp_path / "other.pth")
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, tmp_path / "head.pth")
    with pytest.raises(DataError, match="do not fit"):
        InceptionFeatures(tmp_path / "head.pth")


@pytest.mark.parametrize("text", ["there.pth", "$WEIGHTS_FOLDER/there.pth"])
def test_a_run_reads_the_weights_that_lie_beside_its_protocol(tmp_path, monkeypatch, text):
    """Wherever it is started."""
    monkeypatch.setenv("WEIGHTS_FOLDER", str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    changes = ["evaluation.reference=null", f"evaluation.features={{kind: inception, weights: {text}}}"]
    experiment = Experiment(load_protocol(PROTOCOLS / "quickstart.yaml", changes), tmp_path)
    with pytest.raises(DataError, match=r"'there\.pth' does not exist"):
        _ = experiment.extractor
    (tmp_path / "there.pth").write_bytes(b"no weights")
    with pytest.raises(DataError, match="cannot be read"):
        _ = experiment.extractor
    monkeypatch.delenv("WEIGHTS_FOLDER")
    with pytest.raises(DataError, match=r"WEIGHTS_FOLDER, which is not set.*already on this machine"):
        InceptionSettings(weights="$WEIGHTS_FOLDER/there.pth").build()
