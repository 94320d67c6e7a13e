"""How a reconstruction is chosen and made ready: the same for the command and for the server at a scanner.

Light to import: torch and the methods are imported when a reconstruction is made ready.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from rsd_med.base.errors import ProtocolError
from rsd_med.inverse.kinds import SOLVERS

if TYPE_CHECKING:
    from rsd_med.calibration.settings import CalibrationSettings
    from rsd_med.data.scan import Scan
    from rsd_med.data.source import Source
    from rsd_med.experiment import Experiment
    from rsd_med.inverse.base import Solver, SolverSettings
    from rsd_med.inverse.checking import Check
    from rsd_med.inverse.prior import Prior
    from rsd_med.inverse.scans import Prepared, Undersampling
    from rsd_med.protocol import Protocol

AUTOMATIC = "auto"
"""In place of a method: the one that predicts hidden lines best."""

LEARNED = ("student_pnp", "a_dps")
"""The methods with a prior that compete, the quicker one first."""

NOISE_SOURCES = ("auto", "scan", "edges", "background", "none")
_LIMITS = {"samples": 1, "adapt": 1, "coils": 1, "seed": 0}
_SHORTHAND = {"noise": "noise", "coils": "virtual_coils"}
"""Choices that are keys of the calibration, and which."""


@dataclass(frozen=True)
class Choices:
    """How scans are to be reconstructed.

    Attributes
    ----------
    method
        One of `SOLVERS`; None takes ``a_dps`` with a run and ``l1_wavelet`` without.
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
        for option, key in _SHORTHAND.items():
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
        help="default: a_dps with a run, l1_wavelet without; what each needs: docs/reconstruction.md"
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


class PriorRun:
    """A run folder, opened when it is needed, whose networks are loaded once each; several threads may ask for them.

    Parameters
    ----------
    folder
        Run folder that ``rsd_med.train`` has filled.
    device
        Where its networks are to lie.
    """

    def __init__(self, folder: Path, device: Literal["cpu", "cuda"]) -> None:
        self.folder = folder
        self.device = device
        self._priors: dict[str, Prior] = {}
        self._lock = Lock()

    @cached_property
    def _experiment(self) -> "Experiment":
        from rsd_med.opened_run import open_run
        from rsd_med.runs.run_folder import RunFolder

        return open_run(RunFolder(self.folder), device=self.device)

    @property
    def protocol(self) -> "Protocol":
        """Says how the run's scans were prepared; DataError where the folder is no run."""
        with self._lock:
            return self._experiment.protocol

    def has(self, name: Literal["teacher", "student"]) -> bool:
        """Whether the run holds teacher or student."""
        from rsd_med.runs.run_folder import RunFolder

        return RunFolder(self.folder).checkpoints.newest(name)[0] is not None

    def prior(self, name: Literal["teacher", "student"]) -> "Prior":
        """Return teacher or student.

        Raises
        ------
        DataError
            If the folder is no run, or holds no such checkpoint.
        ProtocolError
            If the run's images are not complex, so that it knows nothing of k-space.
        """
        from rsd_med.opened_run import newest_checkpoint
        from rsd_med.prior import prior_of
        from rsd_med.runs.run_folder import RunFolder

        with self._lock:
            if name not in self._priors:
                checkpoint = newest_checkpoint(RunFolder(self.folder), name)
                self._priors[name] = prior_of(self._experiment, self._experiment.load_network(checkpoint, name), name)
            return self._priors[name]


class Reconstructor:
    """A method with its prior and calibration, ready for scans; ``notes`` are sentences that the user should read.

    Parameters
    ----------
    choices
        What was chosen.
    run
        Where its prior and its calibration come from; None for neither.

    Raises
    ------
    ProtocolError
        If the choices do not go together.
    DataError
        If the run cannot be used.
    """

    def __init__(self, choices: Choices, run: PriorRun | None) -> None:
        choices.check(with_run=run is not None)
        self.choices = choices
        self._run = run
        self.settings = choices.solver_settings(with_run=run is not None)
        self._protocol = None if run is None else run.protocol
        self.prior = self._prior_for(self.settings)
        self.solver = self._solver()
        self.notes: list[str] = []
        self.calibration = self._calibration()

    @property
    def method(self) -> str:
        """The method's name."""
        return self.settings.kind

    def check(self, *, automatic: bool, draws: int, device: str, announce: Callable[[str], None]) -> "Check":
        """Return the check on hidden lines.

        Parameters
        ----------
        automatic
            Let all methods compete that there are networks for, and take the best; else the method that was chosen is
            held against L1-wavelet and zero-filling.
        draws, device, announce
            See `rsd_med.inverse.checking.Check`.
        """
        from rsd_med.inverse.checking import Check
        from rsd_med.inverse.choice import classical_candidates, compared_with
        from rsd_med.inverse.hidden_lines import Candidate

        default = Candidate(self.method, self.solver)
        candidates = compared_with(default)
        if automatic:
            candidates = classical_candidates()
            default = next(one for one in candidates if one.name == "l1_wavelet")
            for name in LEARNED:
                needs = SOLVERS[name].needs
                if self._run is not None and needs is not None and self._run.has(needs):
                    settings = replace(self.choices, method=name).solver_settings(with_run=True)
                    candidates.append(Candidate(name, settings.build(self._prior_for(settings))))
        return Check(candidates, default, automatic, draws, self.choices.seed, device, announce)

    def _prior_for(self, settings: "SolverSettings") -> "Prior | None":
        if self._run is None or settings.needs is None:
            return None
        return replace(self._run.prior(settings.needs), any_size=self.choices.any_size)

    def prepare(self, scan: "Scan", undersampling: "Undersampling") -> "Prepared":
        """Turn a scan into the measurement that the solver takes; see `rsd_med.inverse.scans.prepare`."""
        from rsd_med.inverse.scans import prepare

        if self.calibration.maps.file is not None and scan.maps is None:
            raise ProtocolError("calibration.maps.file names maps of a scan on the disk; leave it out here.")
        size = self.prior.size if self.prior is not None and self.choices.crop_kspace else None
        return prepare(scan, undersampling, self.calibration, size=size, acs_lines=self._scale_lines(scan))

    def source(self, path: Path, acquisition: str | None = None) -> "Source":
        """Open a file or folder of scans, with the coil maps of a file where one was named."""
        from rsd_med.data.opening import open_scan

        source = open_scan(path, acquisition=acquisition)
        if self.calibration.maps.file is None:
            return source
        from rsd_med.data.map_files import WithMaps

        return WithMaps(source, Path(self.calibration.maps.file).expanduser())

    def _solver(self) -> "Solver":
        if self.choices.adapt is None:
            return self.settings.build(self.prior)
        from rsd_med.training.adaptation import AdaptationSettings, AdaptingSolver

        if self.prior is None:
            raise ProtocolError(f"--adapt teaches a prior, and --method {self.method} asks none.")
        return AdaptingSolver(self.settings, self.prior, AdaptationSettings(steps=self.choices.adapt))

    def _calibration(self) -> "CalibrationSettings":
        """Return the run's calibration, with the choices that were made in place of its own; say where these differ."""
        from rsd_med.calibration.settings import CalibrationSettings
        from rsd_med.protocol import apply_overrides, check

        settings = CalibrationSettings() if self._protocol is None else self._protocol.calibration
        # A file of maps belongs to the run's scans and to no other.
        before = settings.model_dump() | {"maps": settings.maps.model_dump() | {"file": None}}
        shorthand = {key: getattr(self.choices, option) for option, key in _SHORTHAND.items()}
        values = before | {name: value for name, value in shorthand.items() if value is not None}
        settings = check(
            CalibrationSettings, apply_overrides(values, self.choices.calibration, "--calibration"), "--calibration"
        )
        if self._protocol is not None:
            for name, (old, new) in _differences(before, settings.model_dump()).items():
                self.notes.append(
                    f"note: the run was trained with calibration.{name}: {_plain(old)}; this scan is prepared with "
                    f"{_plain(new)}, so that the prior meets other images than it knows."
                )
        return settings

    def _scale_lines(self, scan: "Scan") -> int | None:
        """Return the central lines that give a scan its scale: of another width, the same share as in training."""
        lines = None if self._protocol is None else self._protocol.acs_lines
        if lines is None or self.prior is None or not self.prior.any_size:
            return lines
        return round(lines * scan.matrix[1] / self.prior.size[1])


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the values that differ, old and new, by their dotted names."""
    changes: dict[str, tuple[Any, Any]] = {}
    for name, value in after.items():
        if isinstance(value, Mapping):
            changes |= _differences(before[name], value, f"{path}{name}.")
        elif value != before[name]:
            changes[path + name] = (before[name], value)
    return changes


def _plain(value: object) -> str:
    """Write a value as YAML does."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
