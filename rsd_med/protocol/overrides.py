"""``--set a.b=c``: values from the command line laid over those of the protocol file."""

import copy
from collections.abc import Sequence
from typing import Any

from rsd_med.base.errors import ProtocolError
from rsd_med.protocol.yaml_text import parse_value

_EXAMPLES = {"--set": "student.loss.alpha=1.2", "--calibration": "maps.crop=0.8"}


def apply_overrides(values: dict[str, Any], overrides: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Return a copy of a protocol's plain values with overrides laid over them, the later one winning.

    Parameters
    ----------
    values
        What the protocol file holds; it stays as it is.
    overrides
        ``key.path=value``. A part of the path that is a number picks an item of a list; the value is read as YAML:
        ``student.loss.alpha=1.2``, ``name=try_2``, ``evaluation.samplers.0.steps=18``, ``data.crop=[64, 64]``,
        ``corruption={kind: noise, sigma: 0.2}``, ``evaluation.reference=null``.
    option
        How the command line calls them.

    Raises
    ------
    ProtocolError
        If an override has no ``=``, no value, or a path that runs into something that is neither mapping nor list.
        Whether the key exists is for the settings to say.
    """
    result = copy.deepcopy(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        parts = [part.strip() for part in path.split(".")]
        if not equals or not all(parts):
            raise ProtocolError(f"{option} {override}: write it as key=value, for example {option} {_EXAMPLES[option]}")
        if not text.strip():
            raise ProtocolError(f"{option} {override}: the value is missing; write null for none")
        _put(result, parts, parse_value(text, f"{option} {override}"), f"{option} {override}")
    return result


def _put(values: dict[str, Any], parts: list[str], value: Any, override: str) -> None:
    """Set the value at a path, making the mappings on the way that are not there."""
    node: Any = values
    for depth, part in enumerate(parts[:-1]):
        key = _key(node, part, parts[:depth], override)
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = node[key]
    node[_key(node, parts[-1], parts[:-1], override)] = value


def _key(node: Any, part: str, path: list[str], override: str) -> str | int:
    """Return the key or the index by which to enter a mapping or a list."""
    where = ".".join(path)
    if isinstance(node, dict):
        return part
    if not isinstance(node, list):
        raise ProtocolError(f"{override}: `{where}` is a single value and has no `{part}` in it")
    if not part.isdecimal() or int(part) >= len(node):
        raise ProtocolError(
            f"{override}: `{where}` is a list of {len(node)}; name an item by its number, from 0, not `{part}`"
        )
    return int(part)
