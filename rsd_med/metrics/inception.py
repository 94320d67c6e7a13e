"""Inception-v3 features from a file of the user's: pytorch-fid's, near those of the literature but not the same."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from rsd_med.base.errors import DataError
from rsd_med.data.paths import resolve_path
from rsd_med.metrics.features import FeatureSettings
from rsd_med.metrics.views import looked_at

INPUT_SIZE = 299
AT_ONCE = 128
"""Images in a pass of the network, which takes about 2 GiB for them."""
# The network ported from TensorFlow for FID was trained with 1008 classes, torchvision's with 1000.
FID_CLASSES = 1008
WHERE_FROM = "name the file of torchvision's inception_v3 or of pytorch-fid's pt_inception, already on this machine"


class InceptionFeatures:
    """The 2048 pooled features of Inception-v3 (Szegedy et al. 2015), read from a local file and never downloaded.

    Two files are understood: torchvision's ``inception_v3`` and the port of the original FID network
    (``pt_inception-2015-12-05``), recognised by its 1008 classes, whose pooling differs. Images are clipped to [-1, 1]
    and rounded to 8 bits as in the reference FID (methods: value * 127.5 + 128), repeated to three channels and
    resampled bilinearly to 299x299.

    Parameters
    ----------
    weights
        A state dictionary saved by ``torch.save``.

    Raises
    ------
    DataError
        If the file is missing, or holds no Inception-v3.
    """

    dimension = 2048

    def __init__(self, weights: Path) -> None:
        if not weights.is_file():
            raise DataError(f"the Inception weights file '{weights.name}' does not exist; {WHERE_FROM}")
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(f"'{weights.name}' cannot be read as a PyTorch state dictionary; {WHERE_FROM}") from error
        self._network, variant = _network(state, weights.name)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
        self.name = f"inception-v3-{variant}-{digest}-{self.dimension}"

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return float64 ``(N, 2048)`` on the CPU for float32 ``(N, 1 or 3, y, x)``.

        Raises
        ------
        DataError
            If the images are no view (`magnitude_view`) or contain NaN.
        """
        return looked_at(images, AT_ONCE, self._look)

    def _look(self, images: Tensor) -> Tensor:
        levels = (images * 127.5 + 128).clamp(0, 255).floor()
        resized = functional.interpolate(levels, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)
        network = self._network.to(images.device)
        return network((resized / 127.5 - 1.0).expand(-1, 3, -1, -1)).cpu().double()


def _network(state: Any, file_name: str) -> tuple[nn.Module, str]:
    """Build the network that a state dictionary belongs to, ending in the pooled features."""
    from torchvision.models import inception_v3

    if not isinstance(state, dict) or not isinstance(state.get("fc.weight"), Tensor):
        raise DataError(f"'{file_name}' holds no Inception-v3 state dictionary; {WHERE_FROM}")
    classes = len(state["fc.weight"])
    network = inception_v3(weights=None, num_classes=classes, aux_logits=False, init_weights=False)
    network.transform_input = False  # it maps ImageNet's normalisation to [-1, 1], where our images are already
    weights = {key: value for key, value in state.items() if not key.startswith("AuxLogits.")}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(f"the weights in '{file_name}' do not fit Inception-v3; {WHERE_FROM}") from error
    if classes == FID_CLASSES:
        _pool_as_in_fid(network)
    network.fc = nn.Identity()
    return network.eval().requires_grad_(False), "fid" if classes == FID_CLASSES else "torchvision"


def _pool_as_in_fid(network: nn.Module) -> None:
    """Give the pooling branches the original network's behaviour.

    Its average pools leave the padding out of the mean, and its last block pools by the maximum; torchvision's blocks
    pool in their own code, so the branch takes the block's input instead of what the block has pooled.
    """
    for name, block in network.named_children():
        convolution = getattr(block, "branch_pool", None)
        if isinstance(convolution, nn.Module):
            branch = _FidPool(convolution, maximum=name == "Mixed_7c")
            block.branch_pool = branch
            block.register_forward_pre_hook(branch.take_input)


class _FidPool(nn.Module):
    """The original pooling of a block's input, followed by the block's 1x1 convolution."""

    def __init__(self, convolution: nn.Module, *, maximum: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.maximum = maximum
        self._input: Tensor | None = None

    def take_input(self, _block: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Remember what the block is about to see."""
        self._input = inputs[0]

    def forward(self, pooled: Tensor) -> Tensor:
        """Pool 3x3 with stride 1, then convolve; what the block pooled itself is not used."""
        source, self._input = self._input, None
        assert source is not None
        assert source.shape == pooled.shape
        if self.maximum:
            return self.convolution(functional.max_pool2d(source, 3, stride=1, padding=1))
        return self.convolution(functional.avg_pool2d(source, 3, stride=1, padding=1, count_include_pad=False))


class InceptionSettings(FeatureSettings):
    """Inception-v3 from a local file."""

    kind: Literal["inception"] = "inception"
    weights: str = Field(
        description="path of the weights, relative to the protocol; environment variables are expanded"
    )

    def build(self, reference: Tensor | None = None, base_dir: Path | None = None) -> InceptionFeatures:
        """Read the weights.

        Parameters
        ----------
        reference
            Not used: every kind is built alike.
        base_dir
            Where a relative path starts; the working directory if ``None``.

        Raises
        ------
        DataError
            If the file is missing, or holds no Inception-v3.
        """
        return InceptionFeatures(resolve_path(self.weights, base_dir, "Inception weights file", WHERE_FROM))
