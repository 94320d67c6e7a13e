"""The weights of a DDPM++ of EDM, SiD or Ambient Diffusion in the names and the order of ours.

Both are the network of arXiv 2011.13456, appendix H; names and the order of some features differ. Their public code
(NVlabs/edm, training/networks.py, class SongUNet) says the names.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.diffusion.backbones.base import AUGMENTATION_LABELS
from rsd_med.diffusion.backbones.ddpmpp import DDPMPlusPlusSettings

_WRAPPERS = re.compile(r"(?:^|\.)(?:_orig_mod|module)(?=\.)")
"""What compiling and distributing put into names."""

_BLOCK = {
    "norm0": "norm1",
    "conv0": "conv1",
    "affine": "shift",
    "norm1": "norm2",
    "conv1": "conv2",
    "skip": "skip",
    "norm2": "attention.norm",
    "qkv": "attention.query_key_value",
    "proj": "attention.answer",
}
"""Parts of a residual block: theirs and ours."""

_THREE_BY_THREE = ("conv1", "conv2")
_COMPLEX = 2


@dataclass(frozen=True)
class SongUNet:
    """A DDPM++ in their names.

    Attributes
    ----------
    tensors
        All of them, by name, from ``enc.…`` on.
    """

    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "SongUNet":
        """Find the network among tensors, with or without EDM's preconditioning around it.

        Raises
        ------
        DataError
            If it is another network, or one that is told classes.
        """
        bare = {_WRAPPERS.sub("", name).lstrip("."): tensor for name, tensor in tensors.items()}
        inner = {name.removeprefix("model."): tensor for name, tensor in bare.items() if name.startswith("model.")}
        network = cls(inner or bare)
        network._check()
        return network

    def _check(self) -> None:
        names = self.tensors
        if "map_layer0.weight" not in names or not any(name.endswith("_aux_conv.weight") for name in names):
            shown = ", ".join(sorted(names)[:3]) or "no tensors"
            raise DataError(f"the weights are of no DDPM++ (SongUNet) in EDM's names; the file holds {shown} ….")
        if "map_noise.freqs" in names or any(
            name.endswith("resample_filter") and tensor.shape[-1] != 2 for name, tensor in names.items()
        ):
            raise DataError("the weights are of NCSN++; only DDPM++ can be taken over.")
        if "map_label.weight" in names:
            raise DataError("the network is told classes, and ours is not; take the unconditional checkpoint.")
        labels = names.get("map_augment.weight")
        if labels is not None and labels.shape[1] != AUGMENTATION_LABELS:
            raise DataError(
                f"the network hears {labels.shape[1]} numbers about augmentation, ours {AUGMENTATION_LABELS}."
            )

    @property
    def resolutions(self) -> list[int]:
        """Sides of the image at each level, falling."""
        matches = (re.match(r"enc\.(\d+)x\1_block0\.", name) for name in self.tensors)
        return sorted({int(match[1]) for match in matches if match}, reverse=True)

    @property
    def settings(self) -> DDPMPlusPlusSettings:
        """The settings of ours that make this network; dropout, which no weight tells, is 0."""
        features = self.tensors["map_layer0.weight"].shape[1]
        first = [f"enc.{side}x{side}_block0" for side in self.resolutions]
        side = self.resolutions[0]
        pattern = re.compile(rf"enc\.{side}x{side}_block\d+\.conv0\.weight")
        return DDPMPlusPlusSettings(
            features=features,
            multipliers=tuple(self.tensors[f"{name}.conv0.weight"].shape[0] // features for name in first),
            attention=tuple(f"{name}.qkv.weight" in self.tensors for name in first),
            residual_blocks=sum(pattern.fullmatch(name) is not None for name in self.tensors),
            gated="published" if f"enc.{side}x{side}_conv.gate_weight" in self.tensors else False,
        )

    @property
    def inputs(self) -> int:
        """Channels of its input, context included."""
        side = self.resolutions[0]
        return self.tensors[f"enc.{side}x{side}_conv.weight"].shape[1]

    def channels(self, context: bool) -> int:
        """Return the channels of its image: networks that are shown a mask have as many again for it."""
        return self.inputs // 2 if context else self.inputs

    def converted(self, context: bool) -> dict[str, Tensor]:
        """Return the weights for `DDPMPlusPlus`.

        Parameters
        ----------
        context
            Whether the network is shown a mask.

        Raises
        ------
        DataError
            If the file holds weights that have no place in ours, or lacks some.
        ProtocolError
            If a network without gates is to be shown a mask.
        """
        gated = self.settings.gated == "published"
        if context and not gated:
            raise ProtocolError(
                "the network has no gates, and of networks that see images through masks only gated ones can be taken "
                "over: the protocol's corruption hides something, and these weights know of nothing hidden."
            )
        weights, used = self._embeddings(), {"map_layer0", "map_layer1", "map_augment"}
        for theirs, ours in self._parts():
            used.add(theirs)
            weights |= {f"{ours}.{name}": tensor for name, tensor in self._layer(theirs, ours, gated).items()}
        ignored = [n for n in self.tensors if n.rpartition(".")[0] not in used and not n.endswith("resample_filter")]
        if ignored:
            raise DataError(
                f"the weights {ignored[0]} have no place in a DDPM++ of {self.settings.residual_blocks} blocks."
            )
        channels = self.channels(context)
        if context:
            for name in ("input.weights.weight", "input.gates.weight"):
                weights[name] = _mask_in_one_channel(weights[name], channels)
        for name in [name for name in weights if name.startswith("output.")]:
            weights[name] = weights[name][:channels]
        return weights

    def _embeddings(self) -> dict[str, Tensor]:
        """Return the layers that hear level and augmentation: sines come first there, cosines first here."""
        first = self.tensors["map_layer0.weight"]
        labels = self.tensors.get("map_augment.weight", first.new_zeros(first.shape[1], AUGMENTATION_LABELS))
        return {
            "embedding1.weight": torch.cat(first.chunk(2, dim=1)[::-1], dim=1),
            "embedding1.bias": self.tensors["map_layer0.bias"],
            "embedding2.weight": self.tensors["map_layer1.weight"],
            "embedding2.bias": self.tensors["map_layer1.bias"],
            "labels.weight": torch.cat(labels.chunk(2, dim=0)[::-1], dim=0),
        }

    def _parts(self) -> Iterator[tuple[str, str]]:
        """Yield the layers but those of the embedding: their name and ours."""
        sides, blocks = self.resolutions, self.settings.residual_blocks
        names = [f"{side}x{side}" for side in sides]
        yield f"enc.{names[0]}_conv", "input"
        down = [
            f"enc.{name}_{part}"
            for level, name in enumerate(names)
            for part in [*(["down"] if level else []), *(f"block{number}" for number in range(blocks))]
        ]
        rising = names[::-1]
        up = [f"dec.{name}_block{number}" for name in rising for number in range(blocks + 1)]
        groups = {
            "down": down,
            "middle": [f"dec.{rising[0]}_in0", f"dec.{rising[0]}_in1"],
            "up": up,
            "enlarge": [f"dec.{name}_up" for name in rising[1:]],
        }
        for ours, group in groups.items():
            for number, theirs in enumerate(group):
                for part, our_part in _BLOCK.items():
                    if f"{theirs}.{part}.weight" in self.tensors:
                        yield f"{theirs}.{part}", f"{ours}.{number}.{our_part}"
        yield f"dec.{names[0]}_aux_norm", "output_norm"
        yield f"dec.{names[0]}_aux_conv", "output"

    def _layer(self, theirs: str, ours: str, gated: bool) -> dict[str, Tensor]:
        """Return the tensors of one layer under our names."""
        try:
            weight, bias = self.tensors[f"{theirs}.weight"], self.tensors[f"{theirs}.bias"]
        except KeyError as error:
            raise DataError(f"the weights {error.args[0]} are missing in the file.") from error
        tensors = {"weight": weight, "bias": bias}
        gate = self.tensors.get(f"{theirs}.gate_weight")
        if theirs.endswith(".qkv"):
            tensors = {name: _query_key_value_apart(tensor) for name, tensor in tensors.items()}
            gate = None if gate is None else _query_key_value_apart(gate)
        if weight.ndim != 4:
            return tensors
        if gated:
            if gate is None:
                raise DataError(f"the weights {theirs}.gate_weight are missing in the file.")
            return {"weights.weight": tensors["weight"], "gates.weight": gate, "bias": tensors["bias"]}
        inner = ours in ("input", "output") or ours.endswith(_THREE_BY_THREE)
        return {f"weights.{name}" if inner else name: tensor for name, tensor in tensors.items()}


def _query_key_value_apart(tensor: Tensor) -> Tensor:
    """Put the queries of all features first, then the keys, then the values; they lie by feature in the file."""
    return tensor.unflatten(0, (-1, 3)).transpose(0, 1).flatten(0, 1)


def _mask_in_one_channel(weight: Tensor, channels: int) -> Tensor:
    """Show the mask as one channel, and ones as another: ``(features, 2 channels, 3, 3)`` to ``(…, channels + 2, …)``.

    Complex images have them so in the file; colours have a copy of the mask each, and no ones.
    """
    if channels == _COMPLEX:
        return weight
    image, mask = weight[:, :channels], weight[:, channels:].sum(1, keepdim=True)
    return torch.cat([image, mask, torch.zeros_like(mask)], dim=1)
