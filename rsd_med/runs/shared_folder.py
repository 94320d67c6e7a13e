"""A trained model as model hubs keep it: weights, ``config.json``, a card. It is opened like the run it is from."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.runs.checkpoints import Checkpoint, CheckpointStore
from rsd_med.runs.snapshot import Snapshot

CONFIG = "config.json"
FORMAT = 1


def is_shared(folder: Path) -> bool:
    """Say whether a folder is such a model, and no run that goes on."""
    return (folder / CONFIG).is_file()


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SharedWeights(CheckpointStore):
    """The networks of a shared folder, each finished; nothing is written there."""

    def newest(self, stage: str | None = None) -> tuple[Checkpoint | None, list[str]]:
        """Return the network of a stage, or of any; None where the folder has none.

        Raises
        ------
        DataError
            If ``config.json`` is damaged, or a file is not the one it speaks of.
        """
        networks = self._networks()
        name = next(iter(networks), None) if stage is None else stage
        if name is None or name not in networks:
            return None, []
        try:
            recorded, images = networks[name]["sha256"], int(networks[name]["images"])
            whole = fingerprint(self.folder / f"{name}.safetensors") == recorded
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{self.folder.name}: {name}.safetensors or {CONFIG} is missing or damaged.") from error
        if not whole:
            raise DataError(f"{self.folder.name}: {name}.safetensors is not the file that {CONFIG} speaks of.")
        return Checkpoint(self.folder, name, images, finished=True), []

    def write(self, snapshot: Snapshot) -> Path:
        """Refuse to train in a shared folder; ProtocolError."""
        raise ProtocolError(f"{self.folder} is a model that was passed on, not a run: name another --run-dir.")

    def _networks(self) -> Mapping[str, Any]:
        try:
            config = json.loads((self.folder / CONFIG).read_text(encoding="utf-8"))
            networks = config["networks"]
            if config["format"] != FORMAT or not isinstance(networks, dict):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.folder.name}: {CONFIG} is damaged, or of another version of rsd_med.") from error
        return networks
