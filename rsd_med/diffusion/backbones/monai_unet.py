"""MONAI's U-Net: the default for medical images."""

from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn

from rsd_med.base.lazy_packages import lazy_packages
from rsd_med.diffusion.backbones.base import BackboneSettings, reflected_to_multiple, require_one_per_level
from rsd_med.diffusion.backbones.layers import GroupNorm


class MonaiUNetSettings(BackboneSettings):
    """MONAI's ``DiffusionModelUNet``: the default for medical images."""

    kind: Literal["monai_unet"] = "monai_unet"
    channels: tuple[PositiveInt, ...] = Field((64, 128, 192), description="features per resolution level")
    attention: tuple[bool, ...] = Field((False, False, True), description="self-attention per level")
    residual_blocks: PositiveInt = Field(1, description="residual blocks per level")
    norm_groups: PositiveInt = Field(8, description="groups of the group normalisation")
    head_channels: PositiveInt = Field(16, description="features per attention head, at most")

    @model_validator(mode="after")
    def _levels_agree(self) -> Self:
        require_one_per_level("channels", self.channels, self.attention)
        for level, (features, attends) in enumerate(zip(self.channels, self.attention, strict=True)):
            if features % self.norm_groups:
                raise ValueError(
                    f"each of channels must be divisible by norm_groups ({self.norm_groups}), {features} is not"
                )
            # MONAI's middle block attends in any case, at the last level.
            if (attends or level == len(self.channels) - 1) and features % self.head_features(features):
                raise ValueError(
                    "channels at levels with attention, and at the last level, must be divisible by head_channels "
                    f"({self.head_channels}), {features} is not"
                )
        return self

    def head_features(self, features: int) -> int:
        """Return the features of each attention head at a level of ``features``: narrow levels have one head."""
        return min(self.head_channels, features)

    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build the network with fresh weights, drawn from the global generator (see ``build_denoiser``)."""
        return MonaiUNet(self, in_channels, out_channels)


class MonaiUNet(nn.Module):
    """MONAI's U-Net for any image size.

    The network halves the image ``len(channels) - 1`` times; sides that do not divide are padded by reflection and
    cropped again, where MONAI itself would fail inside a concatenation.
    """

    def __init__(self, settings: MonaiUNetSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # MONAI takes seconds to import: only those who build a network wait, and for this network alone.
        with lazy_packages("monai"):
            from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet, get_timestep_embedding

        self._embed_time = get_timestep_embedding
        self.multiple = 2 ** (len(settings.channels) - 1)
        self.net = DiffusionModelUNet(
            spatial_dims=2,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=settings.channels,
            attention_levels=settings.attention,
            num_res_blocks=settings.residual_blocks,
            norm_num_groups=settings.norm_groups,
            num_head_channels=[settings.head_features(features) for features in settings.channels],
            use_flash_attention=True,  # torch's fused attention: else MONAI writes out all pairs of places
        )
        for module in self.net.modules():
            if type(module) is nn.GroupNorm:
                module.__class__ = GroupNorm

    def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """Map ``(b, in_channels, y, x)`` and labels ``(b,)`` to ``(b, out_channels, y, x)``."""
        height, width = x.shape[-2:]
        out: Tensor = self.net(reflected_to_multiple(x, self.multiple), noise_label)
        return out[..., :height, :width]

    def features(self, x: Tensor, noise_label: Tensor) -> Tensor:
        """Return what the middle makes of ``(b, in_channels, y, x)``: ``(b, channels[-1], y', x')``; see `Encoder`."""
        net = self.net
        padded = reflected_to_multiple(x, self.multiple)
        embedding = net.time_embed(self._embed_time(noise_label, net.block_out_channels[0]).to(x.dtype))
        hidden: Tensor = net.conv_in(padded)
        for block in net.down_blocks:
            hidden, _ = block(hidden_states=hidden, temb=embedding, context=None)
        middle: Tensor = net.middle_block(hidden_states=hidden, temb=embedding, context=None)
        return middle
