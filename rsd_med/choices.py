"""What is chosen about a reconstruction: the same options for the command and for the server at a scanner.

Light to import: neither torch nor a method is.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsd_med.base.errors import ProtocolError
from rsd_med.inverse.kinds import SOLVERS

if TYPE_CHECKING:
    from rsd_med.inverse.base import SolverSettings

AUTOMATIC = "auto"
"""In place of a method: the one that predicts hidden lines best."""

NOISE_SOURCES = ("auto", "scan", "edges", "background", "none")
_LIMITS = {"samples": 1, "adapt": 1, "coils": 1, "seed": 0}
SHORTHAND = {"noise": "noise", "coils": "virtual_coils"}
"""Choices that are keys of the calibration, and which."""


@dataclass(frozen=True)
class Choices:
    """How scans are to be reconstructed.

    Attributes
    ----------
    method
        One of `SOLVERS`; None takes ``reconstructor`` with a run that has one, ``a_dps`` with another run,
        and ``l1_wavelet`` without.
    options
        The method's, by name; text is read as the option's type.
    samples
        Posterior samples; None takes the method's.
    seed
        The same seed gives the same result.
    adapt
        Steps that the prior learns from each slice, at most; None takes it as it is.
    crop_kspace, any_size
        What to do with scans of another matrix than the prior's.
    coils, noise
        Of calibration; None takes the run's.
    calibration
        Further changes of calibration, ``name=value`` each, in the words of a protocol's ``calibration`` section.
    """

    method: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    samples: int | None = None
    seed: int = 0
    adapt: int | None = None
    crop_kspace: bool = False
    any_size: bool = False
    coils: int | None = None
    noise: str | None = None
    calibration: Sequence[str] = ()

    def check(self, *, with_run: bool) -> None:
        """Refuse choices that do not go together, before anything is read.

        Raises
        ------
        ProtocolError
            If so.
        """
        for name, least in _LIMITS.items():
            value = getattr(self, name)
            if value is not None and not least <= value < 1e9:
                raise ProtocolError(f"--{name} must be at least {least}, not {value:g}.")
        if self.method is not None and self.method not in SOLVERS:
            raise ProtocolError(f"--method {self.method}: there is no such method; choose one of {', '.join(SOLVERS)}.")
        method = SOLVERS[self._method(with_run=with_run)]
        if not with_run and method.needs:
            raise ProtocolError(f"--method {self.method} needs a prior: give a run folder in place of -.")
        if not with_run and self.adapt is not None:
            raise ProtocolError("--adapt teaches a prior: it needs a run in place of -.")
        if not with_run and self.crop_kspace:
            raise ProtocolError("--crop-kspace brings a scan to the prior's size: it needs a run in place of -.")
        if not with_run and self.any_size:
            raise ProtocolError("--any-size is about a prior: it needs a run in place of -.")
        if self.any_size and self.crop_kspace:
            raise ProtocolError("--any-size keeps the scan's matrix and --crop-kspace takes the prior's; choose one.")
        if self.samples is not None and not method.gives_samples():
            raise ProtocolError(f"--method {self._method(with_run=with_run)} gives one image; leave --samples out.")
        named = {text.partition("=")[0].strip() for text in self.calibration}
        for option, key in SHORTHAND.items():
            if getattr(self, option) is not None and key in named:
                raise ProtocolError(f"--{option} and --calibration {key}=… say the same thing; leave one of them out.")

    def _method(self, *, with_run: bool) -> str:
        return self.method or ("a_dps" if with_run else "l1_wavelet")

    def solver_settings(self, *, with_run: bool) -> "SolverSettings":
        """Return the settings of the method.

        Raises
        ------
        ProtocolError
            If an option is none of the method's, or has a value that it cannot have.
        """
        from pydantic import ValidationError

        method = self._method(with_run=with_run)
        settings, values = SOLVERS[method], dict(self.options)
        if self.samples is not None and settings.gives_samples():
            values["samples"] = self.samples
        try:
            return settings.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            known = ", ".join(name for name in settings.model_fields if name != "kind") or "none"
            raise ProtocolError(f"--set {name}: {first['msg']}; the options of {method} are: {known}.") from error


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the run folder to a command."""
    parser.add_argument("run", metavar="RUN", help="run folder that rsd_med.train has filled; - for none")


def add_choices(parser: argparse.ArgumentParser, *, automatic: bool = False) -> None:
    """Add the options that `choices_of` reads to a command, which may let the methods compete (`AUTOMATIC`)."""
    parser.add_argument(
        "--method",
        choices=[*SOLVERS, *([AUTOMATIC] if automatic else [])],
        help="default: reconstructor with a run that has one, a_dps with another, l1_wavelet without; what each needs: "
        "docs/reconstruction.md"
        + ("; auto: the one that predicts measured lines best that were hidden from it" if automatic else ""),
    )
    parser.add_argument("--samples", type=int, metavar="N", help="posterior samples (default: the method's, 8)")
    parser.add_argument(
        "--set", dest="options", action="append", default=[], metavar="NAME=VALUE", help="an option of the method"
    )
    parser.add_argument(
        "--adapt", type=int, metavar="N", help="let the prior learn from each slice's own lines first, N steps at most"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default 0)")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="default %(default)s: the GPU if there is one",
    )
    parser.add_argument(
        "--crop-kspace", action="store_true", help="reconstruct at the prior's matrix: keep the centre of k-space"
    )
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="apply the prior at the scan's own matrix, whatever that of its training images: out of its domain",
    )
    raw = parser.add_argument_group("calibration (default: the run's, so that the prior meets what it was trained on)")
    raw.add_argument("--coils", type=int, metavar="N", help="compress to N virtual coils")
    raw.add_argument("--noise", choices=NOISE_SOURCES, help="where σ comes from")
    raw.add_argument(
        "--calibration",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any key of a protocol's calibration section, such as --calibration maps.kind=espirit --calibration "
        "maps.sets=2 --calibration maps.file=MAPS.cfl (docs/calibration.md)",
    )


def choices_of(options: argparse.Namespace) -> Choices:
    """Return what was chosen on the command line.

    Raises
    ------
    ProtocolError
        If ``--set`` is not followed by NAME=VALUE, or it or ``--adapt`` goes with ``--method auto``.
    """
    values: dict[str, object] = {}
    for text in options.options:
        name, separator, value = text.partition("=")
        if not separator:
            raise ProtocolError(f"--set {text}: write NAME=VALUE.")
        values[name] = value
    if options.method == AUTOMATIC and (values or options.adapt is not None):
        name = "--set" if values else "--adapt"
        raise ProtocolError(f"{name} is about one method, and --method auto tries several; leave one of the two out.")
    same = ("samples", "seed", "adapt", "crop_kspace", "any_size", "coils", "noise", "calibration")
    method = None if options.method == AUTOMATIC else options.method
    return Choices(method=method, options=values, **{name: getattr(options, name) for name in same})
