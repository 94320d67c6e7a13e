"""A MONAI bundle, which runs without rsd_med: ``python -m monai.bundle run --config_file configs/inference.json``."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from rsd_med.base.files import write_text
from rsd_med.sharing import bundle_draw
from rsd_med.sharing.graphs import Port
from rsd_med.sharing.package import Package, axis_length, provenance
from rsd_med.sharing.programs import Model, write_torchscript

_CONDITIONS = "conditions.pt"
_COMPLEX = {"0": "real", "1": "imaginary"}


def write_bundle(package: Package, folder: Path) -> list[str]:
    """Fill a folder with a bundle.

    Parameters
    ----------
    package
        What to write.
    folder
        Empty.

    Returns
    -------
    list[str]
        A sentence for each thing that could not be written.
    """
    for name in ("configs", "models", "docs", "scripts"):
        (folder / name).mkdir()
    remarks = []
    for number, model in enumerate(package.models):
        name = model.graph.name
        torch.export.save(model.program, folder / "models" / f"{name}.pt2")
        remark = write_torchscript(model, folder / "models" / f"{name}.ts")
        remarks += [] if remark is None else [remark]
        if model.graph.drawing is None:
            remarks.append(f"the bundle runs without the {name}, which takes a scan; models/{name}.pt2 holds it")
            continue
        config = "inference.json" if number == 0 else f"inference_{name}.json"
        _write_json(folder / "configs" / config, _inference(model))
    torch.save(package.models[0].conditions.tensors(), folder / "models" / _CONDITIONS)
    _write_json(folder / "configs" / "metadata.json", _metadata(package))
    write_text(folder / "scripts" / "__init__.py", '"""Scripts of this bundle."""\n')
    write_text(folder / "scripts" / "draw.py", Path(bundle_draw.__file__).read_text(encoding="utf-8"))
    write_text(folder / "LICENSE", package.licence_text("scripts/"))
    write_text(folder / "docs" / "README.md", package.card(_usage(package)))
    return remarks


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _inference(model: Model) -> dict[str, Any]:
    """Return the configuration that draws images; its keys can be overridden on MONAI's command line."""
    graph = model.graph
    drawing = {
        "_target_": "scripts.draw.run",  # MONAI looks for it in the bundle's folder
        "network": "@network",
        "drawing": graph.drawing,
        "shape": [graph.channels, *graph.size],
        "num": "@num",
        "seed": "@seed",
        "device": "@device",
        "conditions": "@conditions",
        "output": "@output_dir",
    }
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$'cuda' if torch.cuda.is_available() else 'cpu'",
        "num": 16,
        "seed": 0,
        "output_dir": "$@bundle_root + '/samples'",
        "program": f"$torch.export.load(@bundle_root + '/models/{graph.name}.pt2')",
        "network": "$@program.module().to(@device)",
        "conditions": f"$torch.load(@bundle_root + '/models/{_CONDITIONS}', weights_only=True)",
        "run": [drawing],
    }


def _metadata(package: Package) -> dict[str, Any]:
    """Return what MONAI's model zoo asks of a bundle."""
    first = package.models[0]
    return {
        "version": "0.1.0",
        "changelog": {"0.1.0": f"exported by {provenance()}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"fire": ">=0.5"},  # monai.bundle asks for it, and MONAI does not bring it
        "name": package.record.name,
        "task": "unconditional generation of clean images",
        "description": f"{first.graph.does} Learnt from corrupted measurements alone (Restoration Score Distillation).",
        "authors": "not stated",
        "copyright": package.licence_text().splitlines()[0],
        "data_source": ", ".join(package.datasets),
        "data_type": "tensor",
        "intended_use": "Research use only. Not for diagnosis.",
        "references": ["arXiv 2505.13377"],
        "network_data_format": _data_format(first),
        **{f"{model.graph.name}_data_format": _data_format(model) for model in package.models[1:]},
    }


def _data_format(model: Model) -> dict[str, Any]:
    output = model.graph.output()
    return {
        "inputs": {port.name: _port(model, port) for port in model.inputs},
        "outputs": {output.name: _port(model, output)},
    }


def _port(model: Model, port: Port) -> dict[str, Any]:
    lengths = {axis: axis_length(model, port.name, axis) for axis in port.axes}
    height, width = lengths.get("y"), lengths.get("x")
    side = f"{model.multiple}*n"
    spatial = [side if length is None else length for length in (height, width)] if "y" in port.axes else []
    channels = lengths.get("channel") or lengths.get("part") or 1
    bounded = port.name == "image" and channels != len(_COMPLEX)
    return {
        "type": "image" if port.name in ("image", "noisy") else "tensor",
        "format": "magnitude" if channels != len(_COMPLEX) else "complex",
        "description": port.meaning,
        "axes": list(port.axes),
        "num_channels": channels,
        "spatial_shape": spatial,
        "dtype": "float32",
        "value_range": [0, 1] if port.name == "mask" else [-1, 1] if bounded else [],
        "is_patch_data": False,
        "channel_def": _COMPLEX if channels == len(_COMPLEX) else {str(k): f"channel {k}" for k in range(channels)},
    }


def _usage(package: Package) -> str:
    name = package.models[0].graph.name
    inputs = ", ".join(port.name for port in package.models[0].inputs)
    return f"""\
With MONAI and torch, in the bundle's folder; `rsd_med` is not needed:

```
pip install monai fire
python -m monai.bundle run --config_file configs/inference.json --bundle_root . --num 64 --seed 1
```

writes `samples/samples.npy`, float32 (image, channel, y, x). In Python:

```python
network = torch.export.load("models/{name}.pt2").module()
image = network({inputs})
```

`models/{name}.ts` is the same as TorchScript (`torch.jit.load`), for C++ and older programs. `models/{_CONDITIONS}`
(`torch.load`) holds masks, and coil maps of training scans, where the networks are shown images through them.

{package.takes_and_gives()}"""
