"""Layers of DDPM++: residual blocks that hear the noise level, with resampling, dropout, attention and gates."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

SKIP_SCALE = math.sqrt(0.5)
"""A sum of two branches of unit variance is brought back to it (arXiv 2011.13456, appendix H)."""

Gates = bool | Literal["published"]
"""Which convolutions have gates: none, those of 3×3, or all of them as in the published checkpoints."""


class Convolution(nn.Module):
    """3×3 convolution, plain or gated.

    A gated convolution answers ``(W_f * x) ⊙ s(W_g * x)`` with the logistic s (Yu et al., arXiv 1806.03589, section
    3.2): the network learns which places to trust, where an ordinary one takes the zero of a missing pixel for a value.

    Parameters
    ----------
    inputs, outputs
        Features.
    gated
        Whether it has gates.
    gain
        Scale of the first weights; 0 lets it begin as zero.
    """

    def __init__(self, inputs: int, outputs: int, *, gated: bool = False, gain: float = 1.0) -> None:
        super().__init__()
        self.weights = initialised(nn.Conv2d(inputs, outputs, 3, padding=1), gain)
        self.gates = initialised(nn.Conv2d(inputs, outputs, 3, padding=1)) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, inputs, y, x)`` to ``(b, outputs, y, x)``."""
        answer: Tensor = self.weights(x)
        return answer if self.gates is None else answer * self.gates(x).sigmoid()


class PublishedConvolution(nn.Module):
    """Gated convolution as in the published networks of Ambient Diffusion (arXiv 2305.19256, 2403.08728).

    It answers ``(W_f * x) ⊙ s(s(W_g * x)) + b``. The logistic s is taken twice, so that no gate leaves (½, ¾), and the
    bias passes no gate. Their public code does so; it is here for the sake of their weights.
    """

    def __init__(self, inputs: int, outputs: int, size: int, gain: float = 1.0) -> None:
        super().__init__()
        self.weights = initialised(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False), gain)
        self.gates = initialised(nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, inputs, y, x)`` to ``(b, outputs, y, x)``."""
        answer: Tensor = self.weights(x) * self.gates(x).sigmoid().sigmoid()
        return answer + self.bias.to(answer.dtype)[:, None, None]


def convolution(inputs: int, outputs: int, gated: Gates, gain: float = 1.0) -> nn.Module:
    """Return a 3×3 convolution with the gates that are asked for."""
    if gated == "published":
        return PublishedConvolution(inputs, outputs, 3, gain)
    return Convolution(inputs, outputs, gated=gated, gain=gain)


def pointwise(inputs: int, outputs: int, gated: Gates, gain: float = 1.0) -> nn.Module:
    """Return a 1×1 convolution, which only published networks give gates."""
    if gated == "published":
        return PublishedConvolution(inputs, outputs, 1, gain)
    return initialised(nn.Conv2d(inputs, outputs, 1), gain)


class Attention(nn.Module):
    """Self-attention over all places with one head, added to its input."""

    def __init__(self, features: int, gated: Gates = False) -> None:
        super().__init__()
        self.norm = group_norm(features)
        # The variance of arXiv 2011.13456 (a tenth of Xavier's) for three matrices in one.
        self.query_key_value = pointwise(features, 3 * features, gated, math.sqrt(0.2))
        self.answer = pointwise(features, features, gated, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(b, features, y, x)`` to the same shape."""
        # The features of a place side by side in memory, as fused kernels of attention ask.
        places = self.query_key_value(self.norm(x)).flatten(2).mT.contiguous()
        query, key, value = places.unsqueeze(1).chunk(3, dim=-1)
        answer = functional.scaled_dot_product_attention(query, key, value)
        return (x + self.answer(answer.squeeze(1).mT.unflatten(2, x.shape[2:]))) * SKIP_SCALE


class ResidualBlock(nn.Module):
    """The residual block of BigGAN as DDPM++ uses it (arXiv 2011.13456, appendix H).

    Parameters
    ----------
    inputs, outputs
        Features.
    embedding
        Length of the vector that tells the noise level; it shifts the features between the two convolutions.
    resample
        ``down`` halves the sides by the mean of 2×2 pixels, ``up`` doubles them by repetition; before the convolutions.
    attention
        Whether self-attention follows.
    dropout
        Probability with which a feature of a pixel is dropped while the network learns.
    gated
        Which convolutions have gates.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        resample: Literal["down", "up"] | None = None,
        attention: bool = False,
        dropout: float = 0.0,
        gated: Gates = False,
    ) -> None:
        super().__init__()
        self.resample = resample
        self.outputs = outputs
        self.dropout = dropout
        self.norm1 = group_norm(inputs)
        self.conv1 = convolution(inputs, outputs, gated)
        self.shift = initialised(nn.Linear(embedding, outputs))
        self.norm2 = group_norm(outputs)
        self.conv2 = convolution(outputs, outputs, gated, gain=0.0)
        self.skip = pointwise(inputs, outputs, gated) if resample or inputs != outputs else nn.Identity()
        self.attention = Attention(outputs, gated) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(b, inputs, y, x)`` and ``(b, embedding)`` to ``(b, outputs, y', x')``; ``dropped`` takes the mask."""
        hidden = self.conv1(self._resampled(functional.silu(self.norm1(x))))
        hidden = hidden + self.shift(embedding)[:, :, None, None]
        hidden = dropped(functional.silu(self.norm2(hidden)), self.dropout, mask)
        total = (self.skip(self._resampled(x)) + self.conv2(hidden)) * SKIP_SCALE
        answer: Tensor = self.attention(total)
        return answer

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample == "down":
            return functional.avg_pool2d(x, 2)
        if self.resample == "up":
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return x


def dropped(x: Tensor, probability: float, mask: Tensor | None) -> Tensor:
    """Drop numbers of ``x`` and enlarge the others, so that the mean stays.

    Parameters
    ----------
    x
        ``(b, …)``.
    probability
        Of each number to be dropped.
    mask
        Which stay, boolean, of the shape of ``x``. None, while the network does not learn: nothing is dropped.
    """
    return x if mask is None else x * mask * (1 / (1 - probability))


def embed_level(label: Tensor, features: int) -> Tensor:
    """Embed noise labels ``(b,)`` as ``(b, features)`` cosines and sines of frequencies from 1 down to 1e-4."""
    exponent = torch.linspace(0, 1, features // 2, device=label.device)
    angle = torch.outer(label.to(torch.float32), 1e-4**exponent)
    return torch.cat([angle.cos(), angle.sin()], dim=1)


class GroupNorm(nn.GroupNorm):
    """Group normalisation that answers in the type of what it is given.

    Autocast would compute and store it in float32, and all that follows up to the next convolution. Kernels for
    bfloat16 add mean and variance up in float32 by themselves.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(b, features, …)``."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
            return functional.group_norm(x, self.num_groups, weight, bias, self.eps)


def group_norm(features: int) -> GroupNorm:
    """Normalise in 32 groups, or in fewer where layers are narrow: four features each at least."""
    most = max(1, min(32, features // 4))
    groups = next(count for count in range(most, 0, -1) if features % count == 0)
    return GroupNorm(groups, features, eps=1e-6)


def initialised(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Fill a layer with Xavier's uniform weights times ``gain``, and no bias."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
