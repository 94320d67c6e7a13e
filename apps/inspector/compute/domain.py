"""Is a scan like those that a prior was trained on? The prior predicts lines that are hidden from it, in one call.

A network that learned from incomplete scans has learned exactly this: it is shown a part of the measured lines and has
to know the others. How well it does on one scan, beside how well it does on scans of its own kind with the same lines,
says whether this one is of that kind: a rank among them, as in conformal prediction (Vovk, Gammerman and Shafer 2005),
and no likelihood. Which lines are measured matters more than the anatomy, so that they must be the same for all.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.randomness import generator_for
from rsd_med.corruptions.measurement import Measurement
from rsd_med.corruptions.multicoil_fourier import MultiCoilUndersampling
from rsd_med.data.scan import Picture, Scan
from rsd_med.inverse import scans
from rsd_med.inverse.base import repeat
from rsd_med.operators.channels import to_complex
from rsd_med.operators.mri import MultiCoilFourier

from .model import Model
from .simulated import simulate

KNOWN = 32
"""Scans of the prior's own kind that a scan is ranked among."""

SPARED = 1
"""The worst of them that a foreign scan need not be worse than: one of its own kind may be odd, and is no measure.

A scan of the own kind is then called foreign twice in 33 times at each level of noise.
"""

MASKS = 4
"""As many ways of leaving out lines of a complete scan."""

LEVELS = (0.1, 2.0)
"""Noise that is added to what the network is shown, in scaled units: little, and more than there is image.

With little, hidden lines follow from the edges that are in view, whatever the image shows: at 128 x 128 a letter is
predicted as well as a head, and pure noise is not. With much, the network has to know the anatomy; of pure noise it
then says that nothing is there, and is no worse than with a head that it knows badly.
"""

DRAWS = 6
"""How often lines are hidden at each level."""

STORED = "held_out_errors.json"
"""File of a run folder with the errors on its held-out scans, by how they were measured; the demo model has one."""


Ranked = tuple[tuple[float, ...], ...]
"""Errors on scans of the prior's own kind, of each level from the smallest to the largest."""


@dataclass(frozen=True)
class Likeness:
    """How a scan compares with the prior's own kind.

    Attributes
    ----------
    errors
        Squared error on hidden lines in parts of their energy, at each level of noise.
    known
        The same of scans of the prior's own kind, at each level from the smallest to the largest.
    held_out
        Whether these were held out of the training and had the same lines; else they are of the training itself.
    """

    errors: tuple[float, ...]
    known: Ranked
    held_out: bool

    @property
    def usual(self) -> list[tuple[float, float]]:
        """The least and the most of the own kind at each level, but for the worst."""
        return [(known[0], known[-1 - SPARED]) for known in self.known]

    @property
    def foreign(self) -> bool:
        """Whether at some level the prior does worse on this scan than on all of its own kind but the worst."""
        return any(error > most for error, (_, most) in zip(self.errors, self.usual, strict=True))


class Domain:
    """What a run's teacher counts as its own kind.

    Parameters
    ----------
    model
        Of the run.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._ranked: dict[str, Ranked] = _stored(model.run.path / STORED)

    @property
    def can_be_asked(self) -> bool:
        """Whether there is a teacher that learned by hiding lines."""
        return "teacher" in self.model.stages and isinstance(self.model.experiment.corruption, MultiCoilUndersampling)

    def likeness(self, scan: Scan) -> Likeness:
        """Compare a scan; of a larger one the centre of k-space, which is the same with the pixels of the run's scans.

        Raises
        ------
        DataError
            When there is nobody to ask, nothing to compare with, the scan is smaller than the run's, or too little of
            it was measured to hide some.
        """
        if not self.can_be_asked:
            raise DataError("this run has no teacher that learned with hidden lines, and nobody else can be asked.")
        if scan.trajectory is not None or scan.sampled is not None:
            raise DataError("only scans of whole columns can be compared.")
        size = self.model.experiment.sampling_operators.size
        if any(own < wanted for own, wanted in zip(scan.matrix, size, strict=True)):
            raise DataError(f"it is smaller than the {size[0]} x {size[1]} of the training.")
        if scan.matrix != size:
            scan = scans.at_lower_resolution(scan, size)
        masks = [scan.acquired] if scan.gaps else self._masks(scan)
        try:
            errors = self._mean_errors(self._measured(scan), masks)
            known = self._known_under(masks)
            if known:
                return Likeness(errors, known, held_out=True)
            return Likeness(errors, self._known_of_training, held_out=False)
        except ProtocolError as problem:
            raise DataError("too few lines were measured to hide some of them, as in the training.") from problem

    def _masks(self, scan: Scan) -> list[Tensor]:
        """Return the lines that are kept of every complete scan, as many as in the training."""
        protocol = self.model.experiment.protocol
        speed = getattr(protocol.corruption, "acceleration", None)
        names = [f"domain {number}" for number in range(MASKS)]
        drawn = [scans.Undersampling(speed, protocol.acs_lines, volume=name).mask(scan) for name in names]
        return [mask for mask in drawn if mask is not None] or [scan.acquired]

    def _measured(self, scan: Scan) -> Measurement:
        protocol = self.model.experiment.protocol
        settings = protocol.calibration.model_copy(update={"check_maps": False})
        prepared = scans.prepare(scan, scans.Undersampling(), settings, acs_lines=protocol.acs_lines)
        measurement = prepared.measurement.to(self.model.experiment.device)
        if isinstance(measurement.operator, MultiCoilFourier):  # networks know images of one set of maps
            return replace(measurement, operator=measurement.operator.first_set())
        return measurement

    @cached_property
    def _complete(self) -> list[Measurement]:
        """Scans of the run's own reference data, with all their lines; none where they are not here, or incomplete."""
        experiment = self.model.experiment
        settings, size = experiment.protocol.evaluation.reference, experiment.sampling_operators.size
        if settings is None:
            return []
        source = settings.build(experiment.base_dir, experiment.protocol.seed)
        measured = []
        for number in range(min(KNOWN, len(source))):
            item = source[len(source) - 1 - number]  # the first are the examples that are looked at
            scan = simulate(item, self.model.coils) if isinstance(item, Picture) else item
            if not scan.gaps and scan.matrix == size:
                measured.append(self._measured(scan))
        return measured if len(measured) >= KNOWN // 2 else []

    def store(self, folder: Path) -> None:
        """Write what was found of the held-out scans into a run folder, where it is read the next time."""
        (folder / STORED).write_text(json.dumps(self._ranked, indent=1), encoding="utf-8")

    def _known_under(self, masks: Sequence[Tensor]) -> Ranked:
        """Return the errors on the held-out scans under these masks; none where no such scans are here."""
        how = repr((KNOWN, LEVELS, DRAWS)).encode()
        key = hashlib.sha256(how + torch.stack(list(masks)).numpy().tobytes()).hexdigest()
        if key not in self._ranked:
            self._ranked[key] = _ranked([self._mean_errors(scan, masks) for scan in self._complete])
        return self._ranked[key]

    @cached_property
    def _known_of_training(self) -> Ranked:
        dataset, group = self.model.experiment.dataset, self.model.experiment.main_group
        errors = [self._errors(dataset[index].to(self.model.experiment.device)) for index in group[:KNOWN]]
        if len(errors) < KNOWN // 2:
            raise DataError(f"only {len(errors)} scans of the prior's own kind are here, too few to compare with.")
        return _ranked(errors)

    def _mean_errors(self, measurement: Measurement, masks: Sequence[Tensor]) -> tuple[float, ...]:
        errors = []
        for mask in masks:
            rest = measurement.operator.restricted(measurement.data, mask.to(measurement.device)[None, None, None])
            if rest is None:
                raise DataError("no lines can be left out of a scan of this kind.")
            errors.append(self._errors(replace(measurement, operator=rest[0], data=rest[1])))
        return tuple(sum(of_level) / len(errors) for of_level in zip(*errors, strict=True))

    def _errors(self, measurement: Measurement) -> tuple[float, ...]:
        return tuple(self._error(measurement, level) for level in LEVELS)

    @torch.no_grad()
    def _error(self, measurement: Measurement, level: float) -> float:
        experiment, network = self.model.experiment, self.model.network("teacher")
        objective, there = experiment.objective, repeat(measurement, DRAWS)
        # The same draws for every scan, so that errors differ by the scans alone.
        draws = generator_for(0, "domain", str(level), device=experiment.device)
        # A teacher of completed scans hides nothing by itself: lines are hidden from it as they are in such scans.
        hides = objective if objective.hides else experiment.corruption
        further = hides.further(there.operator, draws)
        sigma = torch.full((DRAWS,), level, device=there.device)
        rest = there.data.masked_fill(~further.entries(there.data), 0)
        given = there if objective.hides else replace(there, operator=further, data=rest)
        estimate = objective.show(further).denoise(network, objective.noised(given, further, sigma, draws), sigma)
        left = there.operator(to_complex(estimate)) - there.data
        hidden = (there.operator.entries(there.data) & ~further.entries(there.data)).expand_as(left)
        energy = _power(there.data[hidden])
        return _power(left[hidden]) / energy if energy > 0 else 0.0


def _ranked(errors: Sequence[tuple[float, ...]]) -> Ranked:
    return tuple(tuple(sorted(of_level)) for of_level in zip(*errors, strict=True))


def _stored(path: Path) -> dict[str, Ranked]:
    """Read what `Domain.store` wrote; nothing where it is not there, or damaged: then it is measured again."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): tuple(tuple(map(float, of_level)) for of_level in levels) for key, levels in stored.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _power(values: Tensor) -> float:
    return float(values.abs().square().sum())
