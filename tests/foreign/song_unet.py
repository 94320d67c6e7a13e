"""A DDPM++ in the names of EDM's code, and what it answers: written for these tests from the papers, on plain tensors.

arXiv 2011.13456 (appendix H) and 2206.00364 (table 7 and appendix F); the gates of arXiv 2305.19256 and 2403.08728 as
their public code has them.
"""

import math
import pickle
import sys
from types import ModuleType

import torch
from torch.nn import functional as F


class Layout:
    """Random weights of a network, named as EDM's code names them."""

    def __init__(self, channels_in, channels_out, *, features=8, multipliers=(1, 2), blocks=1, side=8, gated=False):
        self.features, self.side, self.blocks, self.levels = features, side, blocks, len(multipliers)
        self.gated, self.generator, self.tensors = gated, torch.Generator().manual_seed(5), {}
        length = 4 * features
        self.linear("map_augment", 9, features, bias=False)
        self.linear("map_layer0", features, length)
        self.linear("map_layer1", length, length)
        width = features
        self.conv(f"enc.{side}x{side}_conv", channels_in, features, 3)
        skips = [features]
        for level, multiplier in enumerate(multipliers):
            name = f"{side >> level}x{side >> level}"
            if level:
                self.block(f"enc.{name}_down", width, width, length, resampled=True)
                skips.append(width)
            for number in range(blocks):
                self.block(f"enc.{name}_block{number}", width, features * multiplier, length, attention=level == 1)
                skips.append(width := features * multiplier)
        for level, multiplier in reversed(list(enumerate(multipliers))):
            name = f"{side >> level}x{side >> level}"
            if level == len(multipliers) - 1:
                self.block(f"dec.{name}_in0", width, width, length, attention=True)
                self.block(f"dec.{name}_in1", width, width, length)
            else:
                self.block(f"dec.{name}_up", width, width, length, resampled=True)
            for number in range(blocks + 1):
                last = number == blocks and level == 1
                self.block(
                    f"dec.{name}_block{number}", width + skips.pop(), features * multiplier, length, attention=last
                )
                width = features * multiplier
        self.norm(f"dec.{side}x{side}_aux_norm", width)
        self.conv(f"dec.{side}x{side}_aux_conv", width, channels_out, 3)

    def random(self, *shape):
        return torch.randn(*shape, generator=self.generator)

    def linear(self, name, inputs, outputs, bias=True):
        self.tensors[f"{name}.weight"] = self.random(outputs, inputs) / math.sqrt(inputs)
        if bias:
            self.tensors[f"{name}.bias"] = 0.3 * self.random(outputs)

    def conv(self, name, inputs, outputs, size):
        self.tensors[f"{name}.weight"] = self.random(outputs, inputs, size, size) / math.sqrt(inputs * size * size)
        self.tensors[f"{name}.bias"] = 0.3 * self.random(outputs)
        if self.gated:
            self.tensors[f"{name}.gate_weight"] = self.random(outputs, inputs, size, size)

    def norm(self, name, features):
        self.tensors[f"{name}.weight"] = 1 + 0.3 * self.random(features)
        self.tensors[f"{name}.bias"] = 0.3 * self.random(features)

    def block(self, name, inputs, outputs, length, attention=False, resampled=False):
        self.norm(f"{name}.norm0", inputs)
        self.conv(f"{name}.conv0", inputs, outputs, 3)
        self.linear(f"{name}.affine", length, outputs)
        self.norm(f"{name}.norm1", outputs)
        self.conv(f"{name}.conv1", outputs, outputs, 3)
        if inputs != outputs or resampled:
            self.conv(f"{name}.skip", inputs, outputs, 1)
        if resampled:
            self.tensors[f"{name}.conv0.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)
        if attention:
            self.norm(f"{name}.norm2", outputs)
            self.conv(f"{name}.qkv", outputs, 3 * outputs, 1)
            self.conv(f"{name}.proj", outputs, outputs, 1)

    # --- What it answers ---

    def denoise(self, x, sigma, augmentation=None):
        """D(x; σ) under EDM's preconditioning, all channels alike."""
        level = sigma.reshape(-1, 1, 1, 1)
        total = level**2 + 0.25
        answer = self.network(x / total.sqrt(), sigma.log() / 4, augmentation)
        return x[:, : answer.shape[1]] * 0.25 / total + answer * level * 0.5 / total.sqrt()

    def network(self, x, label, augmentation):
        half = self.features // 2
        angles = label[:, None] * torch.tensor([10000 ** (-k / (half - 1)) for k in range(half)])
        heard = torch.cat([angles.sin(), angles.cos()], dim=1)
        if augmentation is not None:
            heard = heard + augmentation @ self.tensors["map_augment.weight"].T
        for layer in ("map_layer0", "map_layer1"):
            heard = F.silu(heard @ self.tensors[f"{layer}.weight"].T + self.tensors[f"{layer}.bias"])
        x = self.convolve(f"enc.{self.side}x{self.side}_conv", x)
        skips = [x]
        for level in range(self.levels):
            name = f"enc.{self.side >> level}x{self.side >> level}"
            if level:
                skips.append(x := self.residual(f"{name}_down", x, heard, "down"))
            for number in range(self.blocks):
                x = self.residual(f"{name}_block{number}", x, heard)
                skips.append(x)
        for level in reversed(range(self.levels)):
            name = f"dec.{self.side >> level}x{self.side >> level}"
            if level == self.levels - 1:
                x = self.residual(f"{name}_in1", self.residual(f"{name}_in0", x, heard), heard)
            else:
                x = self.residual(f"{name}_up", x, heard, "up")
            for number in range(self.blocks + 1):
                x = self.residual(f"{name}_block{number}", torch.cat([x, skips.pop()], dim=1), heard)
        name = f"dec.{self.side}x{self.side}_aux"
        return self.convolve(f"{name}_conv", F.silu(self.normalise(f"{name}_norm", x)))

    def convolve(self, name, x):
        weight = self.tensors[f"{name}.weight"]
        answer = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.gated:
            opened = F.conv2d(x, self.tensors[f"{name}.gate_weight"], padding=weight.shape[-1] // 2)
            answer = answer / (1 + torch.exp(-1 / (1 + torch.exp(-opened))))
        return answer + self.tensors[f"{name}.bias"][:, None, None]

    def normalise(self, name, x):
        groups = min(32, x.shape[1] // 4)
        parts = x.reshape(len(x), groups, -1)
        parts = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, keepdim=True, unbiased=False) + 1e-6).sqrt()
        weight, bias = (self.tensors[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
        return parts.reshape(x.shape) * weight + bias

    def residual(self, name, x, heard, resample=None):
        def resampled(image):
            if resample == "down":
                return sum(image[..., i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4
            return image.repeat_interleave(2, -1).repeat_interleave(2, -2) if resample == "up" else image

        hidden = self.convolve(f"{name}.conv0", resampled(F.silu(self.normalise(f"{name}.norm0", x))))
        shift = heard @ self.tensors[f"{name}.affine.weight"].T + self.tensors[f"{name}.affine.bias"]
        hidden = F.silu(self.normalise(f"{name}.norm1", hidden + shift[:, :, None, None]))
        skip = resampled(x)
        if f"{name}.skip.weight" in self.tensors:
            skip = self.convolve(f"{name}.skip", skip)
        x = (skip + self.convolve(f"{name}.conv1", hidden)) / math.sqrt(2)
        if f"{name}.qkv.weight" not in self.tensors:
            return x
        threes = self.convolve(f"{name}.qkv", self.normalise(f"{name}.norm2", x))
        query, key, value = (threes[:, j::3].flatten(2) for j in range(3))  # the three of a feature lie together
        share = (torch.einsum("bcq,bck->bqk", query, key) / math.sqrt(x.shape[1])).softmax(2)
        attended = torch.einsum("bqk,bck->bcq", share, value).reshape(x.shape)
        return (x + self.convolve(f"{name}.proj", attended)) / math.sqrt(2)


# --- Files of it ---

_MODULE = "torch_utils.persistence"


def _reconstruct_persistent_obj(meta):
    raise AssertionError("the source code in a pickle was run")


class Persistent:
    """Pickled as EDM pickles a module: its source code and its state."""

    def __init__(self, class_name, **state):
        self.class_name, self.state = class_name, state

    def __reduce__(self):
        meta = {
            "type": "class",
            "version": 6,
            "module_src": "raise AssertionError('the source code in a pickle was run')",
            "class_name": self.class_name,
            "state": self.state,
        }
        return _reconstruct_persistent_obj, (meta,)


def module_of(tensors, class_name="Part", **state):
    """Nest flat names into modules, as ``nn.Module`` keeps them."""
    own = {name: tensor for name, tensor in tensors.items() if "." not in name}
    parts = {}
    for name, tensor in tensors.items():
        head, dot, rest = name.partition(".")
        if dot:
            parts.setdefault(head, {})[rest] = tensor
    buffers = {name: own.pop(name) for name in list(own) if name == "resample_filter"}
    parameters = {name: torch.nn.Parameter(tensor) for name, tensor in own.items()} | {"absent": None}
    modules = {name: module_of(part) for name, part in parts.items()}
    return Persistent(class_name, training=False, _parameters=parameters, _buffers=buffers, _modules=modules, **state)


def write_snapshot(path, layout, class_name="EDMPrecond", **state):
    """Write a network-snapshot pickle: the network under its preconditioning, and other objects beside it."""
    network = {f"model.{name}": tensor for name, tensor in layout.tensors.items()}
    ema = module_of(network, class_name, **({"sigma_data": 0.5, "img_resolution": layout.side} | state))
    module = ModuleType(_MODULE)
    module._reconstruct_persistent_obj = _reconstruct_persistent_obj
    sys.modules[_MODULE.partition(".")[0]], sys.modules[_MODULE] = ModuleType("torch_utils"), module
    _reconstruct_persistent_obj.__module__ = _MODULE
    try:
        with path.open("wb") as file:
            pickle.dump(
                {"ema": ema, "loss_fn": Persistent("EDMLoss", P_mean=-1.2), "dataset_kwargs": {"path": "x"}}, file
            )
    finally:
        del sys.modules[_MODULE], sys.modules["torch_utils"]
