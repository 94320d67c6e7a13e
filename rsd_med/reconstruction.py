"""How a reconstruction is made ready: the same for the command and for the server at a scanner.

Light to import: torch and the methods are imported when a reconstruction is made ready.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from rsd_med.base.errors import ProtocolError
from rsd_med.choices import SHORTHAND, Choices
from rsd_med.inverse.kinds import SOLVERS

if TYPE_CHECKING:
    from rsd_med.calibration.settings import CalibrationSettings
    from rsd_med.data.scan import Scan
    from rsd_med.data.source import Source
    from rsd_med.experiment import Experiment
    from rsd_med.inverse.base import Solver, SolverSettings
    from rsd_med.inverse.checking import Check
    from rsd_med.inverse.prior import TrainedNetwork
    from rsd_med.inverse.scans import Prepared, Undersampling
    from rsd_med.protocol import Protocol

NetworkName = Literal["teacher", "student", "reconstructor"]

LEARNED = ("reconstructor", "student_pnp", "a_dps")
"""The methods with a prior that compete, the quicker one first."""


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
        self._networks: dict[str, TrainedNetwork] = {}
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

    def has(self, name: NetworkName) -> bool:
        """Whether the run holds teacher, student or reconstructor."""
        from rsd_med.runs.run_folder import RunFolder

        return RunFolder(self.folder).checkpoints.newest(name)[0] is not None

    def network(self, name: NetworkName) -> "TrainedNetwork":
        """Return teacher, student or reconstructor, as solvers take it.

        Raises
        ------
        DataError
            If the folder is no run, or holds no such checkpoint.
        ProtocolError
            If the run's images are not complex, so that it knows nothing of k-space.
        """
        from rsd_med.opened_run import newest_checkpoint
        from rsd_med.prior import amortised_of, prior_of
        from rsd_med.runs.run_folder import RunFolder

        with self._lock:
            if name not in self._networks:
                checkpoint, experiment = newest_checkpoint(RunFolder(self.folder), name), self._experiment
                self._networks[name] = (
                    amortised_of(experiment, experiment.load_reconstructor(checkpoint).settled())
                    if name == "reconstructor"
                    else prior_of(experiment, experiment.load_network(checkpoint, name), name)
                )
            return self._networks[name]


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
        if choices.method is None and run is not None and run.has("reconstructor"):
            choices = replace(choices, method="reconstructor")
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

    def _prior_for(self, settings: "SolverSettings") -> "TrainedNetwork | None":
        if self._run is None or settings.needs is None:
            return None
        network = self._run.network(settings.needs)
        return replace(network, any_size=True) if self.choices.any_size else network

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
        return AdaptingSolver(
            self.settings, self.prior, AdaptationSettings(steps=self.choices.adapt), self.choices.seed
        )

    def _calibration(self) -> "CalibrationSettings":
        """Return the run's calibration, with the choices that were made in place of its own; say where these differ."""
        from rsd_med.calibration.settings import CalibrationSettings
        from rsd_med.protocol import apply_overrides, check

        settings = CalibrationSettings() if self._protocol is None else self._protocol.calibration
        # A file of maps belongs to the run's scans and to no other.
        before = settings.model_dump() | {"maps": settings.maps.model_dump() | {"file": None}}
        shorthand = {key: getattr(self.choices, option) for option, key in SHORTHAND.items()}
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
