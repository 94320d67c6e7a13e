"""A U-Net on patches of pixels, for processors that multiply matrices far faster than they do anything else.

Three things take the time of a small U-Net elsewhere: convolutions of few features at full resolution, group
normalisation, and casts between data types. Here the image is folded into patches first: a quarter of the places,
four times the features. Each place is normalised over its own features, which lie beside one another in memory.
Between input and output every number has one data type, and sums are in float32 inside the kernels.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.nn import functional

from rsd_med.base.draws import Draws
from rsd_med.diffusion.backbones.base import (
    AUGMENTATION_LABELS,
    BackboneSettings,
    LearningNetwork,
    reflected_to_multiple,
    require_one_per_level,
)
from rsd_med.diffusion.backbones.layers import dropped

HEAD_FEATURES = 64
"""Features of an attention head."""


class PatchUNetSettings(BackboneSettings):
    """A U-Net on patches of pixels: the fastest to a given loss on CPUs and GPUs with bfloat16."""

    takes_augmentation: ClassVar[bool] = True

    kind: Literal["patch_unet"] = "patch_unet"
    patch: PositiveInt = Field(2, description="side of the patches whose pixels become features, in pixels")
    channels: tuple[PositiveInt, ...] = Field((64, 96, 128), min_length=1, description="features per resolution level")
    attention: tuple[bool, ...] = Field(
        (False, False, True), description="self-attention per level; the last one's is in the middle, too"
    )
    residual_blocks: PositiveInt = Field(1, description="residual blocks per level")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability, while a network learns")

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        require_one_per_level("channels", self.channels, self.attention)
        for features, attends in zip(self.channels, self.attention, strict=True):
            if attends and features > HEAD_FEATURES and features % HEAD_FEATURES:
                raise ValueError(
                    f"channels at levels with attention must be at most {HEAD_FEATURES} or a multiple of it, "
                    f"{features} is not"
                )
        return self

    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build the network with fresh weights, drawn from the global generator (see ``build_denoiser``)."""
        return PatchUNet(self, in_channels, out_channels)


class PlaceNorm(nn.LayerNorm):
    """Layer normalisation over the features of each place, ``(b, features, y, x)``, in the data type of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise; the shape stays."""
        # Autocast would answer in float32, at twice the memory traffic; the kernel's sums are in float32 in any case.
        with torch.autocast(x.device.type, enabled=False):
            last = x.permute(0, 2, 3, 1)
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return functional.layer_norm(last, self.normalized_shape, weight, bias, self.eps).permute(0, 3, 1, 2)


class PlaceAttention(nn.Module):
    """Self-attention over all places, added to its input."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.heads = max(1, features // HEAD_FEATURES)
        self.norm = PlaceNorm(features)
        self.query_key_value = nn.Conv2d(features, 3 * features, 1)
        self.answer = _silent(nn.Conv2d(features, features, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, features, y, x)`` to the same shape."""
        batch, features, height, width = x.shape
        # (3, b, heads, places, features of a head): what the fused kernels take.
        parts = self.query_key_value(self.norm(x)).permute(0, 2, 3, 1).reshape(batch, height * width, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        answer = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        return x + self.answer(answer.reshape(batch, height, width, features).permute(0, 3, 1, 2))


class PlaceBlock(nn.Module):
    """A residual block that hears the noise level between its convolutions; it begins as the identity."""

    def __init__(self, inputs: int, outputs: int, embedding: int, *, attention: bool, dropout: float) -> None:
        super().__init__()
        self.outputs = outputs
        self.dropout = dropout
        self.norm1 = PlaceNorm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.shift = nn.Linear(embedding, outputs)
        self.norm2 = PlaceNorm(outputs)
        self.conv2 = _silent(nn.Conv2d(outputs, outputs, 3, padding=1))
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.attention = PlaceAttention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, inputs, y, x)`` and ``(b, embedding)`` to ``(b, outputs, y, x)``; ``dropped`` takes the mask."""
        hidden = self.conv1(functional.silu(self.norm1(x)))
        hidden = hidden + self.shift(embedding).to(hidden.dtype)[:, :, None, None]
        hidden = dropped(functional.silu(self.norm2(hidden)), self.dropout, mask)
        answer: Tensor = self.attention(self.skip(x) + self.conv2(hidden))
        return answer


class PatchUNet(LearningNetwork):
    """The U-Net for any image size, sides that do not divide being padded by reflection and cropped again.

    From level to level the places are halved by the mean of 2×2 and doubled by repetition. On the way back every block
    also gets what the blocks of its level gave on the way down. The first answer is zero.

    The pixels of a patch come from one place, those of its neighbour from another: errors of both would draw the grid
    of the patches into the image. So each channel is the sum of a sharp part and of a smooth one, whose pixels overlap.
    """

    frequencies: Tensor

    def __init__(self, settings: PatchUNetSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        widths = settings.channels
        self.patch = settings.patch
        self.levels = len(widths)
        self.multiple = settings.patch * 2 ** (len(widths) - 1)
        self.blocks_down, self.blocks_up = settings.residual_blocks, settings.residual_blocks + 1  # per level
        length = 2 * widths[-1]
        # Noise labels, ln(σ)/4, lie between −1.6 and 1.1: waves of this spread tell neighbouring levels apart.
        self.register_buffer("frequencies", 2 * torch.randn(widths[0]))
        self.embedding1 = nn.Linear(2 * widths[0] + AUGMENTATION_LABELS, length)
        self.embedding2 = nn.Linear(length, length)

        def block(inputs: int, outputs: int, *, attention: bool) -> PlaceBlock:
            return PlaceBlock(inputs, outputs, length, attention=attention, dropout=settings.dropout)

        self.input = nn.Conv2d(in_channels * settings.patch**2, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, shown = widths[0], [widths[0]]  # features of each answer on the way down
        for level, features in enumerate(widths):
            if level > 0:
                shown.append(width)
            for _ in range(self.blocks_down):
                self.down.append(block(width, features, attention=settings.attention[level]))
                shown.append(width := features)
        self.middle = block(width, width, attention=settings.attention[-1])
        for level, features in reversed(list(enumerate(widths))):
            for number in range(self.blocks_up):
                attends = settings.attention[level] and number == self.blocks_up - 1
                self.up.append(block(width + shown.pop(), features, attention=attends))
                width = features
        self.output_norm = PlaceNorm(width)
        self.output = _silent(nn.Conv2d(width, 2 * out_channels * settings.patch**2, 3, padding=1))
        self.blend = _blending(out_channels)

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        augmentation: Tensor | None = None,
        masks: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """Map ``(b, in_channels, y, x)`` and labels ``(b,)`` to ``(b, out_channels, y, x)``; see the base class."""
        height, width = x.shape[-2:]
        left = iter(masks or ())  # one for each block, in the order of `_blocks`
        x, embedding, shown = self._encode(x, noise_label, augmentation, left)
        for number, block in enumerate(self.up):
            if number and number % self.blocks_up == 0:
                x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, shown.pop()], dim=1), embedding, next(left, None))
        parts = functional.pixel_shuffle(self.output(functional.silu(self.output_norm(x))), self.patch)
        answer: Tensor = self.blend(parts)
        return answer[..., :height, :width]

    def features(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """Return what the middle makes of ``(b, in_channels, y, x)``; see `Encoder`."""
        return self._encode(x, noise_label, None, iter(()))[0]

    def dropout_masks(self, x: Tensor, draws: Draws) -> list[Tensor]:
        """Draw which numbers stay, for each block of a pass on ``x``; see the base class."""
        height, width = (-(-side // self.multiple) * self.multiple // self.patch for side in x.shape[-2:])
        masks = []
        for block, level in self._blocks():
            if block.dropout:
                sides = height >> level, width >> level
                masks.append((draws.uniform(len(x), block.outputs, *sides) >= block.dropout).to(x.device))
        return masks

    def _encode(
        self, x: Tensor, noise_label: Tensor, augmentation: Tensor | None, left: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Go down and through the middle; return its answer, the embedding, and the answers on the way down."""
        embedding = self._embed(noise_label, augmentation)
        folded = functional.pixel_unshuffle(reflected_to_multiple(x, self.multiple), self.patch)
        # Folding leaves the features of a place apart in memory; all that follows wants them side by side.
        x = self.input(folded.contiguous(memory_format=torch.channels_last))
        shown = [x]
        for number, block in enumerate(self.down):
            if number and number % self.blocks_down == 0:
                x = functional.avg_pool2d(x, 2)
                shown.append(x)
            x = block(x, embedding, next(left, None))
            shown.append(x)
        return self.middle(x, embedding, next(left, None)), embedding, shown

    def _embed(self, noise_label: Tensor, augmentation: Tensor | None) -> Tensor:
        """Embed noise labels ``(b,)`` and augmentations: ``(b, length)``."""
        angle = torch.outer(noise_label.to(torch.float32), self.frequencies)
        if augmentation is None:
            # Not len(): TorchScript would take it for a constant.
            augmentation = noise_label.new_zeros(noise_label.shape[0], AUGMENTATION_LABELS)
        waves = torch.cat([angle.cos(), angle.sin(), augmentation.to(angle.dtype)], dim=1)
        return functional.silu(self.embedding2(functional.silu(self.embedding1(waves))))

    def _blocks(self) -> Iterator[tuple[PlaceBlock, int]]:
        """Yield the blocks, each with its level, in the order in which a pass goes through them."""
        blocks = [(block, number // self.blocks_down) for number, block in enumerate(self.down)]
        blocks.append((self.middle, self.levels - 1))
        blocks += [(block, self.levels - 1 - number // self.blocks_up) for number, block in enumerate(self.up)]
        for block, level in blocks:
            assert isinstance(block, PlaceBlock)
            yield block, level


def _blending(channels: int) -> nn.Conv2d:
    """Make the layer that adds the smooth parts of channels, at first a blur of 3×3 pixels, to their sharp parts."""
    layer = _silent(nn.Conv2d(2 * channels, channels, 3, padding=1))
    binomial = torch.tensor([0.25, 0.5, 0.25])
    for channel in range(channels):
        layer.weight.data[channel, channel] = torch.outer(binomial, binomial)
        layer.weight.data[channel, channels + channel, 1, 1] = 1.0
    return layer


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """Let a layer begin with zero weights: what it is added to passes unchanged at first."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
