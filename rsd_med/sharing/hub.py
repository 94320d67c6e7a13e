"""A folder for a model hub: weights, configuration and a card. rsd_med opens it like a run."""

import json
from pathlib import Path
from typing import Any

from rsd_med import __version__
from rsd_med.base.files import write_text
from rsd_med.experiment import Experiment
from rsd_med.protocol import Protocol, dump_protocol
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.sampling_operators import save_sampling_operators
from rsd_med.runs.shared_folder import CONFIG, FORMAT, fingerprint
from rsd_med.sharing.package import Package

NOT_INCLUDED = "not-included"
"""Stands for every path of a protocol: where data lie is nobody's business, and they are not there."""


def write_hub_folder(package: Package, experiment: Experiment, conditions: int, folder: Path) -> list[str]:
    """Fill an empty folder.

    Parameters
    ----------
    package
        What to write.
    experiment
        The run's.
    conditions
        How many training measurements lend their operators (coil maps) to those who draw samples.
    folder
        Empty.

    Returns
    -------
    list[str]
        Nothing: all of it can always be written.
    """
    from safetensors.torch import save_file

    networks: dict[str, Any] = {}
    for model in package.models:
        path = folder / f"{model.graph.name}.safetensors"
        weights = model.graph.weights()
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path, {"format": "pt"})
        count = sum(tensor.numel() for tensor in weights.values())
        networks[model.graph.name] = {"images": model.images, "parameters": count, "sha256": fingerprint(path)}
    run, protocol = RunFolder(folder), without_paths(package.protocol)
    write_text(run.protocol_resolved, dump_protocol(protocol))
    save_sampling_operators(run.sampling_operators, experiment.sampling_operators[:conditions])
    graph = package.models[0].graph
    config = {
        "library_name": "rsd_med",
        "format": FORMAT,
        "rsd_med_version": __version__,
        "model_type": protocol.backbone.kind,
        "licence": package.licence,
        "channels": graph.channels,
        "size": list(graph.size),
        "networks": networks,
        "protocol": protocol.model_dump(mode="json"),
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
    write_text(folder / "LICENSE", package.licence_text())
    write_text(folder / "README.md", package.card(_USAGE))
    return []


def without_paths(protocol: Protocol) -> Protocol:
    """Return a protocol that names no path of a machine."""

    def cleared(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: cleared(name, part) for name, part in value.items()}
        if isinstance(value, list):
            return [cleared(key, part) for part in value]
        free = key == "description"  # plain words, in which "T1/T2" is no path
        if isinstance(value, str) and not free and (key == "root" or any(mark in value for mark in "/\\~$")):
            return NOT_INCLUDED
        return None if key == "cache_dir" else value

    return Protocol.model_validate(cleared("", protocol.model_dump(mode="json")))


_USAGE = """\
With [rsd_med](https://github.com/rsd-med/rsd_med), a downloaded folder stands where a run folder does:

```
rsd-med sample FOLDER --num 64 --format png --out samples       # a student: one network call an image, or a few
rsd-med sample FOLDER --from teacher --num 16 --out walks
rsd-med reconstruct FOLDER scan.h5 --samples 8 --out result      # models of complex images, as a prior
rsd-med inspector FOLDER
```

`config.json` holds the whole protocol and the SHA-256 of the weights, `sampling_operators.safetensors` the coil maps
and masks of some training scans, where there are any.
"""
