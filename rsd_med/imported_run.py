"""A run made of weights that were trained elsewhere."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.files import write_text
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.noise_level import NoiseLevelSettings
from rsd_med.experiment import Experiment
from rsd_med.foreign.pickles import Bystander, read_tensors, tensors_of
from rsd_med.foreign.song_unet import SongUNet
from rsd_med.operators.linear import Identity
from rsd_med.protocol import Protocol, dump_protocol
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.sampling_operators import save_sampling_operators
from rsd_med.runs.snapshot import Snapshot

NETWORKS = ("ema", "G_ema", "net", "model")
"""Names under which files hold the weights that one wants, the first that is there: averages before others."""

_COMPLEX = 2


@dataclass(frozen=True)
class ForeignWeights:
    """A network from a file, checked against a protocol.

    Attributes
    ----------
    file
        Where it is from.
    protocol
        The experiment, nothing of it left to be estimated.
    tensors
        The weights in our names, float32.
    channels, side
        Of the images: how many, and pixels along y and x.
    names_preconditioning
        Whether the file says that its preconditioning is EDM's.
    """

    file: Path
    protocol: Protocol
    tensors: Mapping[str, Tensor]
    channels: int
    side: int
    names_preconditioning: bool


def open_weights(file: Path, protocol: Protocol, name: str | None = None) -> ForeignWeights:
    """Read a network from a file.

    Parameters
    ----------
    file
        See `rsd_med.foreign.pickles.read_tensors`.
    protocol
        The experiment that it belongs to; its data are not needed.
    name
        Which network of the file; None for the first of ``NETWORKS``.

    Raises
    ------
    ProtocolError
        If the protocol's network or preconditioning is another.
    DataError
        If the file holds no such network, or one that is damaged.
    """
    protocol = _settled(protocol)
    context = Experiment(protocol, Path()).objective.context_channels
    part = _choose(read_tensors(file), file, name)
    preconditioned = isinstance(part, Bystander) and isinstance(part.state, dict)
    if preconditioned:
        _check_preconditioning(part, protocol)
    try:
        network = SongUNet.of(tensors_of(part))
        _require_agreement(network, protocol)
        channels = network.channels(context > 0)
        tensors = {key: tensor.to(torch.float32) for key, tensor in network.converted(context > 0).items()}
        _require_fit(tensors, protocol, channels, context)
    except DataError as error:
        raise DataError(f"{file.name}: {error}") from error
    return ForeignWeights(file, protocol, tensors, channels, network.resolutions[0], preconditioned)


def write_run(
    folder: Path,
    weights: ForeignWeights,
    text: str,
    base_dir: Path,
    stage: Literal["teacher", "student"],
    images: int,
) -> None:
    """Make a run folder with the finished stage, and a note of where it is from.

    Parameters
    ----------
    folder
        The run's.
    weights
        What to write.
    text, base_dir
        The protocol as given, and its folder.
    stage
        What the network is.
    images
        Images that it was trained on; 0 where nobody knows.
    """
    with weights.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    origin = {"network": stage, "file": weights.file.name, "sha256": digest, "images": images}
    networks: dict[str, dict[str, Tensor]] = {
        stage: {f"network.{name}": tensor.contiguous().clone() for name, tensor in weights.tensors.items()}
    }
    state: dict[str, Any] = {"optimisers": {}, "extra": {}}
    run = RunFolder(folder)
    run.create(text, dump_protocol(weights.protocol), weights.protocol.seed, base_dir)
    try:
        run.checkpoints.write(Snapshot(stage, images, images, True, networks, state))
        write_text(run.imported, json.dumps(origin, indent=2) + "\n")
        if weights.channels != _COMPLEX:  # complex images are sampled under coil maps of the data
            data = torch.zeros(1, weights.channels, weights.side, weights.side)
            like = Measurement(data, Identity(), torch.zeros(1), torch.ones(1), ("condition",))
            save_sampling_operators(run.sampling_operators, like)
        run.set_status("done", command=f"python -m rsd_med.import_weights {weights.file.name} {weights.protocol.name}")
    finally:
        run.lock.release()


def _settled(protocol: Protocol) -> Protocol:
    """Return the protocol with nothing left to be estimated; ProtocolError where that cannot be."""
    corruption, diffusion = protocol.corruption, protocol.diffusion
    if isinstance(corruption, NoiseLevelSettings) and corruption.level == "estimate":
        raise ProtocolError(
            f"corruption.{corruption.level_field}: state the noise level that the weights were trained for, a number."
        )
    if diffusion.hidden_std not in ("auto", 0):
        raise ProtocolError(
            f"diffusion.hidden_std is {diffusion.hidden_std}, and these networks were trained with EDM's "
            "preconditioning: set it to 0."
        )
    if protocol.backbone.kind != "ddpmpp":
        raise ProtocolError(f"backbone.kind is {protocol.backbone.kind}; the weights of others are of kind ddpmpp.")
    return protocol.model_copy(update={"diffusion": diffusion.model_copy(update={"hidden_std": 0.0})})


def _choose(content: dict[str, Any], file: Path, wanted: str | None) -> Any:
    """Choose the network of a file by its name; what is no network has no tensors."""
    candidates = {name: part for name, part in content.items() if len(tensors_of(part)) > 1}
    for name in NETWORKS if wanted is None else (wanted,):
        if name in candidates:
            return candidates[name]
    if wanted is None and any(isinstance(part, Tensor) for part in content.values()):
        return content  # a state dict by itself
    if wanted is None and len(candidates) == 1:
        return next(iter(candidates.values()))
    raise DataError(
        f"{file.name} holds no network{'' if wanted is None else f' {wanted!r}'} that can be taken over: of tensors "
        f"there is {', '.join(candidates) or 'nothing'} in it; name one with --network."
    )


def _check_preconditioning(part: Bystander, protocol: Protocol) -> None:
    """Refuse another preconditioning than EDM's with the protocol's σ_d."""
    if part.class_name not in ("EDMPrecond", ""):
        raise DataError(f"the network is under {part.class_name}, and only EDM's preconditioning can be taken over.")
    sigma_data = part.state.get("sigma_data", protocol.diffusion.sigma_data)
    if sigma_data != protocol.diffusion.sigma_data:
        raise ProtocolError(f"diffusion.sigma_data is {sigma_data} in the file: set it to that.")


def _require_agreement(network: SongUNet, protocol: Protocol) -> None:
    """Refuse a network of other settings than the protocol's; ProtocolError names all that differ."""
    theirs = network.settings.model_dump(mode="json", exclude={"kind", "dropout"})
    ours = protocol.backbone.model_dump(mode="json")
    changes = [f"--set 'backbone.{key}={json.dumps(value)}'" for key, value in theirs.items() if ours[key] != value]
    if changes:
        raise ProtocolError(
            f"backbone: the network in the file is another than the protocol's; run again with {' '.join(changes)}."
        )


def _require_fit(weights: Mapping[str, Tensor], protocol: Protocol, channels: int, context: int) -> None:
    """Refuse weights of which one has another shape than in the network, or is not finite."""
    with torch.device("meta"):
        expected = protocol.backbone.build(channels + context, channels).state_dict()
    for name in [*expected, *(name for name in weights if name not in expected)]:
        here, there = (list(state[name].shape) if name in state else "absent" for state in (weights, expected))
        if here != there:
            raise DataError(f"the weights {name} are {here} in the file, and {there} in the protocol's network.")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise DataError("the weights are not all finite.")
