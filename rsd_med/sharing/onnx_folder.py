"""ONNX models with what is needed beside them, for programs without torch."""

from pathlib import Path
from typing import Any

import numpy as np

from rsd_med.base.files import write_text
from rsd_med.sharing.package import Package, describe
from rsd_med.sharing.programs import write_onnx

_CONDITIONS = "conditions.npz"


def write_onnx_folder(package: Package, folder: Path) -> list[str]:
    """Fill an empty folder with one model for each network; see `rsd_med.sharing.bundle.write_bundle`."""
    for model in package.models:
        description = describe(model)
        write_onnx(model, folder / f"{model.graph.name}.onnx", description)
    conditions = package.models[0].conditions.tensors()
    if conditions:
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in conditions.items()}
        np.savez_compressed(folder / _CONDITIONS, **arrays)
    write_text(folder / "LICENSE", package.licence_text())
    write_text(folder / "README.md", package.card(_usage(package)))
    return []


def _usage(package: Package) -> str:
    model = package.models[0]
    fed = ", ".join(f'"{port.name}": {port.name}' for port in model.inputs)
    stored = (
        f"`{_CONDITIONS}` holds masks, and coil maps of training scans (`numpy.load`).\n\n"
        if model.conditions.tensors()
        else ""
    )
    return f"""\
```python
import onnxruntime
session = onnxruntime.InferenceSession("{model.graph.name}.onnx")
(image,) = session.run(None, {{{fed}}})  # numpy arrays, float32
```

{stored}{package.takes_and_gives()}"""
