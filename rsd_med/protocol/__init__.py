"""The experiment as typed data; the only place that knows YAML."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsd_med.protocol.checking import check
from rsd_med.protocol.overrides import apply_overrides
from rsd_med.protocol.packaged import find_protocol
from rsd_med.protocol.protocol import Protocol, StageName
from rsd_med.protocol.yaml_text import parse_mapping, read_text, write_yaml

__all__ = [
    "Protocol",
    "StageName",
    "apply_overrides",
    "check",
    "dump_protocol",
    "find_protocol",
    "load_protocol",
    "protocol_json_schema",
    "read_text",
]


def load_protocol(path: Path | str, overrides: Sequence[str] = (), text: str | None = None) -> Protocol:
    """Read a protocol file, lay overrides over it and check the result.

    Parameters
    ----------
    path
        A YAML file.
    overrides
        ``key.path=value`` each, as given to ``--set``; see `rsd_med.protocol.overrides.apply_overrides`.
    text
        What the file holds, where it has been read already.

    Raises
    ------
    ProtocolError
        One sentence for each thing wrong, with the line or the path of the key.
    """
    path = Path(path)
    values = parse_mapping(read_text(path) if text is None else text, path.name)
    source = path.name if not overrides else f"{path.name} with --set"
    return check(Protocol, apply_overrides(values, overrides), source)


def dump_protocol(protocol: Protocol) -> str:
    """Write a protocol with every default spelt out, as YAML that `load_protocol` reads back to an equal one."""
    return write_yaml(protocol.model_dump(mode="json"))


def protocol_json_schema() -> dict[str, Any]:
    """Return the JSON schema of a protocol file, by which editors complete keys and mark mistakes."""
    schema = Protocol.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "rsd_med protocol"}
