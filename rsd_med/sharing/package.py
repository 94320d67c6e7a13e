"""What goes with a model wherever it goes: its licence, its card, what it takes and gives, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from rsd_med import __version__
from rsd_med.base.errors import ProtocolError
from rsd_med.diffusion.guess_error import LATENTS
from rsd_med.protocol import Protocol
from rsd_med.reporting.model_card import render_card
from rsd_med.reporting.record import RunRecord
from rsd_med.reporting.release import Release
from rsd_med.sharing.graphs import Port
from rsd_med.sharing.programs import Model

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Package:
    """What is exported.

    Attributes
    ----------
    record
        The run, for the card.
    protocol
        Its protocol.
    models
        Its networks, the one that users want first.
    licence
        Under which weights and samples may be used, in the words of whoever exports them.
    datasets
        Names of the training data, for the hub.
    """

    record: RunRecord
    protocol: Protocol
    models: Sequence[Model]
    licence: str
    datasets: Sequence[str]

    def card(self, usage: str) -> str:
        """Return the model card with a section on use."""
        return render_card(self.record, Release(self.licence, tuple(self.datasets), usage))

    def licence_text(self, scripts: str = "") -> str:
        """Return the file LICENSE."""
        stated = (
            "Nobody has said under which licence the weights may be used. The terms of the training data bind them. Do "
            "not pass them on."
            if self.licence == UNKNOWN
            else f"Weights and samples: {self.licence}, as stated by whoever exported them. The terms of the training "
            "data bind them too."
        )
        own = f"\n{scripts}: Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0\n" if scripts else ""
        return f"{stated}\n{own}\nResearch use only. Not for diagnosis. Without warranty of any kind.\n"

    def takes_and_gives(self) -> str:
        """Describe inputs and outputs of every network, in Markdown."""
        return "\n".join(describe(model) for model in self.models)


def require_licence(licence: str | None, protocol: Protocol) -> str:
    """Return the licence that was stated.

    Raises
    ------
    ProtocolError
        If none was: the data's is not ours to guess.
    """
    if licence is not None and licence.strip():
        return " ".join(licence.split())
    raise ProtocolError(
        f"--licence: the licence of the training data ({protocol.data.kind}) is not stated, and it binds the model. "
        "Name the licence under which the weights may be passed on (for example --licence CC-BY-4.0), or write "
        "--licence unknown for a folder that stays where the data may be used."
    )


def describe(model: Model) -> str:
    """Describe one network: what it does, takes and gives, as Markdown."""
    rows = [
        f"| {where} | `{port.name}` | {_shape(model, port)} float32 | {port.meaning} |"
        for where, ports in (("takes", model.inputs), ("gives", (model.graph.output(),)))
        for port in ports
    ]
    head = f"`{model.graph.name}`. {model.graph.does}\n\n| | name | shape | what it is |\n|---|---|---|---|\n"
    height, width = model.graph.size
    trained = f"sides are multiples of {model.multiple} (it was trained on {height} x {width})"
    free = f"Any batch; {trained}." if model.any_size else "Any batch."
    coils = " Any number of coils." if "coil_maps" in model.conditions.tensors() else ""
    return head + "\n".join(rows) + f"\n\n{free}{coils} Preconditioning and noise levels are inside.\n"


def axis_length(model: Model, port_name: str, axis: str) -> int | None:
    """Return the length of an axis; None where it is free."""
    height, width = model.graph.size
    lengths = {
        "channel": 1 if port_name == "mask" else model.graph.channels,
        "part": 2,
        "latent": LATENTS,
        "y": height,
        "x": width,
    }
    return None if axis in model.free_axes() else lengths[axis]


def _shape(model: Model, port: Port) -> str:
    lengths = (axis_length(model, port.name, axis) or axis for axis in port.axes)
    return f"({', '.join(map(str, lengths))})"


def provenance() -> str:
    """Name the program that wrote a file."""
    return f"rsd_med {__version__}"
