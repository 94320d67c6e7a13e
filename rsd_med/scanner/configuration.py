"""What a client may choose, by the name of a configuration or by its text: settings, and never a path or code."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from rsd_med.base.errors import ProtocolError
from rsd_med.base.settings import Settings
from rsd_med.choices import Choices
from rsd_med.inverse.kinds import SOLVERS
from rsd_med.protocol.checking import check
from rsd_med.protocol.yaml_text import parse_mapping, read_yaml

DEFAULT = "default"
"""The name of the configuration that the server was started with."""

_NAME = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_OF_THE_METHOD = ("options", "samples", "adapt")

Series = Literal["mean", "std", "lower", "upper"]


class ScannerSettings(Settings):
    """How a measurement is reconstructed, and which images go back; keys are those of ``rsd_med.reconstruct``."""

    method: str | None = Field(
        None, description="a method of docs/reconstruction.md; null takes a_dps with a run and l1_wavelet without"
    )
    options: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, max_length=50, description="options of the method, as after --set"
    )
    samples: int | None = Field(None, ge=1, le=1000, description="posterior samples; null takes the method's number")
    seed: int = Field(0, ge=0, le=10**9, description="the same seed gives the same images")
    adapt: int | None = Field(
        None, ge=1, le=10000, description="steps that the prior learns from each slice, at most; null takes it as it is"
    )
    crop_kspace: bool = Field(False, description="reconstruct at the prior's matrix: keep the centre of k-space")
    any_size: bool = Field(False, description="apply the prior at the scan's own matrix: out of its domain")
    coils: int | None = Field(None, ge=1, le=1000, description="number of virtual coils; null: as in training")
    noise: Literal["auto", "scan", "edges", "background", "none"] | None = Field(
        None, description="where the noise level comes from; null: as in training"
    )
    calibration: tuple[str, ...] = Field(
        (), max_length=50, description="`name=value` each, as after --calibration; of the server and its files alone"
    )
    images: tuple[Series, ...] = Field(
        ("mean", "std"),
        min_length=1,
        max_length=4,
        description="the images that are sent, each a series: mean, and of methods that give an uncertainty std, lower "
        "and upper",
    )
    pixels: Literal["float", "int16"] = Field(
        "float", description="float: the units of the raw data; int16: 4095 is the white of the display window"
    )

    def choices(self) -> Choices:
        """Return what concerns the reconstruction."""
        return Choices(**{name: getattr(self, name) for name in Choices.__dataclass_fields__})


def changed(
    settings: ScannerSettings, values: Mapping[str, Any], source: str, *, by_client: bool = True
) -> ScannerSettings:
    """Lay a client's choices over settings.

    Options of another method than that which is chosen are left behind.

    Parameters
    ----------
    settings
        Whatever is not chosen.
    values
        Plain values by the names of `ScannerSettings`.
    source
        What to call them in errors.
    by_client
        Whether a client chose them, who must not name files of the server, as ``calibration`` can.

    Raises
    ------
    ProtocolError
        If they are none of the settings, or cannot be had.
    """
    if by_client and "calibration" in values:
        raise ProtocolError(f"{source}: calibration is the server's to choose; a client may set coils and noise.")
    base = settings.model_dump()
    if values.get("method", settings.method) != settings.method:
        base = {name: value for name, value in base.items() if name not in _OF_THE_METHOD}
    elif isinstance(values.get("options"), dict):
        values = {**values, "options": {**base["options"], **values["options"]}}
    return check(ScannerSettings, {**base, **values}, source)


class Configurations:
    """The configurations that clients may name.

    Those of the methods, ``default``, and files of a folder, which are read once, here: no name that a client sends is
    ever made into a path.

    Parameters
    ----------
    default
        What the server was started with.
    folder
        Of files ``NAME.yaml``; None for none.
    with_run
        Whether there is a run, so that methods with a prior can be offered.

    Raises
    ------
    ProtocolError
        If a file is wrong.
    """

    def __init__(self, default: ScannerSettings, folder: Path | None, *, with_run: bool) -> None:
        self._named = {DEFAULT: default}
        for name in SOLVERS:
            if with_run or SOLVERS[name].needs is None:
                self._named[name] = changed(default, {"method": name}, name, by_client=False)
        for path in [] if folder is None else sorted(folder.glob("*.yaml")):
            if not _NAME.fullmatch(path.stem):
                raise ProtocolError(f"--configs: the name {path.name} has characters that a scanner cannot send.")
            self._named[path.stem] = changed(default, read_yaml(path), path.name, by_client=False)
        for name, settings in self._named.items():
            try:
                settings.choices().check(with_run=with_run)
                settings.choices().solver_settings(with_run=with_run)
            except ProtocolError as error:
                raise ProtocolError(f"{name}: {error}") from error

    def __iter__(self) -> Iterator[str]:
        """Return the names."""
        return iter(self._named)

    def named(self, name: str) -> ScannerSettings:
        """Return a configuration by the name that a client sent; an empty one is the default.

        Raises
        ------
        ProtocolError
            If there is none of that name.
        """
        known = self._named.get(name.strip() or DEFAULT)
        if known is None:
            shown = name if _NAME.fullmatch(name) else "of other characters than letters, digits, _ - ."
            raise ProtocolError(
                f"There is no configuration {shown} on this server; choose one of {', '.join(sorted(self._named))}."
            )
        return known

    def written(self, text: str) -> ScannerSettings:
        """Return a configuration from the text that a client sent: YAML or JSON, laid over the default.

        Raises
        ------
        ProtocolError
            If it is none.
        """
        return changed(self._named[DEFAULT], parse_mapping(text, "The configuration"), "The configuration")


def parameters(text: str) -> dict[str, Any] | None:
    """Return the choices of a remark that makes some, as the user interface of Siemens' Open Recon sends them.

    ``{"version": "1.1.0", "parameters": {"method": "cg_sense", "options.regularisation": 0.01}}``: flat, so that a name
    with a point stands for the key of a group. Values that are empty were left alone by the user.

    Returns
    -------
    dict or None
        None for a remark that chooses nothing.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    chosen = content.get("parameters") if isinstance(content, dict) else None
    if not isinstance(chosen, dict):
        return None
    nested: dict[str, Any] = {}
    for name, value in chosen.items():
        group, point, key = name.partition(".")
        if value == "":
            continue
        if point and isinstance(inner := nested.setdefault(group, {}), dict):
            inner[key] = value
        else:
            nested[name] = value
    return nested
