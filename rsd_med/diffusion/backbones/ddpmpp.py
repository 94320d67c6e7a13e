"""DDPM++: the U-Net behind the published results on natural images and on brains.

Written from the descriptions in Song et al. (arXiv 2011.13456, appendix H) and Karras et al. (arXiv 2206.00364, table 7
and appendix F).
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
from rsd_med.diffusion.backbones.layers import ResidualBlock, convolution, embed_level, group_norm, initialised

PUBLISHED_SIGMA_DATA = 0.5
"""σ_d of all published networks (arXiv 2206.00364, table 1)."""


class DDPMPlusPlusSettings(BackboneSettings):
    """DDPM++ of the published experiments; the defaults are those of CIFAR-10 (55.7 million parameters)."""

    takes_augmentation: ClassVar[bool] = True

    kind: Literal["ddpmpp"] = "ddpmpp"
    features: PositiveInt = Field(128, multiple_of=4, description="features of the first layer")
    multipliers: tuple[PositiveInt, ...] = Field(
        (2, 2, 2), min_length=1, description="features per resolution level, as multiples of `features`"
    )
    attention: tuple[bool, ...] = Field(
        (False, True, False), description="self-attention per level; the middle of the network attends in any case"
    )
    residual_blocks: PositiveInt = Field(4, description="residual blocks per level")
    dropout: float = Field(0.0, ge=0, lt=1, description="probability, while a network learns")
    gated: bool | Literal["published"] = Field(
        False,
        description="gated convolutions, for networks that are shown images with holes; published: gates and mask as "
        "in the checkpoints of Ambient Diffusion, which rsd_med.import_weights reads",
    )

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        require_one_per_level("multipliers", self.multipliers, self.attention)
        return self

    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build the network with fresh weights, drawn from the global generator (see ``build_denoiser``)."""
        return DDPMPlusPlus(self, in_channels, out_channels)


class DDPMPlusPlus(LearningNetwork):
    """DDPM++ for any image size, sides that do not divide being padded by reflection and cropped again.

    From level to level the image is halved by a residual block of its own. On the way back every block but the middle's
    also gets what the blocks of its level gave on the way down. The first answer is zero.
    """

    def __init__(self, settings: DDPMPlusPlusSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.multiple = 2 ** (len(settings.multipliers) - 1)
        self.width = settings.features
        self.blocks_up = settings.residual_blocks + 1  # per level
        length = 4 * settings.features
        self.labels = nn.Linear(AUGMENTATION_LABELS, settings.features, bias=False)
        initialised(self.labels)
        self.embedding1 = initialised(nn.Linear(settings.features, length))
        self.embedding2 = initialised(nn.Linear(length, length))

        def block(
            inputs: int, outputs: int, *, resample: Literal["down", "up"] | None = None, attention: bool = False
        ) -> ResidualBlock:
            return ResidualBlock(
                inputs,
                outputs,
                length,
                resample=resample,
                attention=attention,
                dropout=settings.dropout,
                gated=settings.gated,
            )

        widths = [settings.features * multiplier for multiplier in settings.multipliers]
        self.published_context = settings.gated == "published" and in_channels > out_channels
        self.image_channels = out_channels
        self.input = convolution(in_channels + self.published_context, settings.features, settings.gated)
        self.down = nn.ModuleList()
        shown = [width := settings.features]  # features of each answer on the way down
        for level, features in enumerate(widths):
            if level > 0:
                self.down.append(block(width, width, resample="down"))
                shown.append(width)
            for _ in range(settings.residual_blocks):
                self.down.append(block(width, features, attention=settings.attention[level]))
                shown.append(width := features)
        self.middle = nn.ModuleList([block(width, width, attention=True), block(width, width)])
        self.enlarge, self.up = nn.ModuleList(), nn.ModuleList()
        for level, features in reversed(list(enumerate(widths))):
            if level < len(widths) - 1:
                self.enlarge.append(block(width, width, resample="up"))
            for number in range(self.blocks_up):
                last = number == settings.residual_blocks
                self.up.append(block(width + shown.pop(), features, attention=last and settings.attention[level]))
                width = features
        self.output_norm = group_norm(width)
        self.output = convolution(
            width, out_channels, "published" if settings.gated == "published" else False, gain=0.0
        )

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
                x = self.enlarge[number // self.blocks_up - 1](x, embedding, next(left, None))
            x = block(torch.cat([x, shown.pop()], dim=1), embedding, next(left, None))
        answer: Tensor = self.output(functional.silu(self.output_norm(x)))
        return answer[..., :height, :width]

    def features(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """Return what the middle makes of ``(b, in_channels, y, x)``; see `Encoder`."""
        return self._encode(x, noise_label, None, iter(()))[0]

    def _encode(
        self, x: Tensor, noise_label: Tensor, augmentation: Tensor | None, left: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Go down and through the middle; return its answer, the embedding, and the answers on the way down."""
        if augmentation is None:
            # Not len(): TorchScript would take it for a constant.
            augmentation = noise_label.new_zeros(x.shape[0], AUGMENTATION_LABELS)
        embedding = embed_level(noise_label, self.width) + self.labels(augmentation)
        embedding = functional.silu(self.embedding2(functional.silu(self.embedding1(embedding))))
        if self.published_context:
            x = published_input(x, noise_label, self.image_channels)
        x = self.input(reflected_to_multiple(x, self.multiple))
        shown = [x]
        for block in self.down:
            x = block(x, embedding, next(left, None))
            shown.append(x)
        for block in self.middle:
            x = block(x, embedding, next(left, None))
        return x, embedding, shown

    def dropout_masks(self, x: Tensor, draws: Draws) -> list[Tensor]:
        """Draw which numbers stay, for each block of a pass on ``x``; see the base class."""
        height, width = (-(-side // self.multiple) * self.multiple for side in x.shape[-2:])
        masks = []
        for block in self._blocks():
            if block.resample == "down":
                height, width = height // 2, width // 2
            elif block.resample == "up":
                height, width = 2 * height, 2 * width
            if block.dropout:
                mask = draws.uniform(len(x), block.outputs, height, width) >= block.dropout
                masks.append(mask.to(x.device))
        return masks

    def _blocks(self) -> Iterator[ResidualBlock]:
        """Yield the blocks in the order in which a pass goes through them."""
        blocks: list[nn.Module] = [*self.down, *self.middle]
        for number, block in enumerate(self.up):
            if number and number % self.blocks_up == 0:
                blocks.append(self.enlarge[number // self.blocks_up - 1])
            blocks.append(block)
        for block in blocks:
            assert isinstance(block, ResidualBlock)
            yield block


def published_input(x: Tensor, noise_label: Tensor, channels: int) -> Tensor:
    """Show the context of an image as the published networks of Ambient Diffusion see it.

    They know no channels apart from the image's: EDM's c_in scales the mask too, and a channel of ones beside it.

    Parameters
    ----------
    x
        The image, scaled by c_in already, and its context, not scaled: ``(b, channels + context, y, x)``.
    noise_label
        ``ln(σ) / 4``, ``(b,)``, which tells c_in: σ_d is 0.5 in all of their networks.
    channels
        Of the image.

    Returns
    -------
    Tensor
        With the context scaled, and one channel more.
    """
    c_in = (
        ((8 * noise_label.to(torch.float32)).exp() + PUBLISHED_SIGMA_DATA**2).rsqrt().to(x.dtype).reshape(-1, 1, 1, 1)
    )
    image, context = x[:, :channels], x[:, channels:]
    return torch.cat([image, c_in * context, c_in * torch.ones_like(context[:, :1])], dim=1)
