"""What speaks for and against a reconstruction, as plain values: measured and hidden lines, the prior, a reference."""

from typing import Any

from rsd_med.base.errors import DataError, FewLinesError
from rsd_med.base.progress import Progress
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.causes import likely_cause
from rsd_med.inverse.checking import check_slice
from rsd_med.inverse.choice import baseline_candidates
from rsd_med.inverse.hidden_lines import Candidate
from rsd_med.inverse.kinds import SOLVERS

from . import reconstruction
from .domain import Domain
from .methods import CHECK_DRAWS, kind_of
from .model import Model
from .reconstruction import ReadyScan


def residual(scan: ReadyScan, method: str, result: Reconstruction) -> dict[str, Any]:
    """Return how the image agrees with the measured lines, of the whole scan and ring by ring."""
    settings, consistency = SOLVERS[kind_of(method)], result.residual
    cause = ""
    if not consistency.explains and settings.fits_data:
        sentence = likely_cause(
            scan.prepared.measurement,
            scan.prepared.report,
            learned=settings.needs is not None,
            one_set=not settings.takes_sets,
        )
        cause = sentence.partition(";")[0].rstrip(".")  # what follows are options of the command line
    return {
        "consistent": consistency.explains,
        "meant": settings.fits_data,
        "figure": consistency.figure(),
        "cause": cause,
        "rings": [
            {"part": part.part, "noise": part.noise_ratio, "signal": part.relative, "fine": part.excess <= 1}
            for part in consistency.parts
        ],
    }


def hidden_lines(
    model: Model, scan: ReadyScan, method: str, solver: Solver, progress: Progress
) -> dict[str, Any] | None:
    """Say how a learned method predicts measured lines that are hidden from it, beside L1-wavelet.

    Returns
    -------
    dict or None
        ``reason`` where nothing could be hidden; else the errors ``own`` and ``baseline`` in parts of the energy of the
        ``lines``, and whether the method is ``worse``. None for a method without a prior.
    """
    if solver.settings.needs is None:
        return None
    candidate = Candidate(method, solver)
    measurement = scan.prepared.measurement.to(model.experiment.device)
    try:
        table = check_slice(measurement, [*baseline_candidates(), candidate], CHECK_DRAWS, 0, progress)
    except FewLinesError as error:
        return {"reason": error.message}
    row, baseline = table.row_of(candidate), table.baseline()
    return {
        "own": row.errors.relative,
        "baseline": baseline.errors.relative,
        "lines": len(row.errors.squared),
        "worse": table.warning(row) is not None,
    }


def training(model: Model) -> dict[str, Any]:
    """Return what a run's networks were trained on, as far as the run has written it down."""
    protocol, operators = model.experiment.protocol, model.experiment.sampling_operators
    maps, count = operators.operator.coil_maps, model.record.metrics.get("num_measurements")
    return {
        "kind": protocol.data.kind,
        "description": protocol.description,
        "size": list(operators.size),
        "coils": None if maps is None else int(maps.shape[-3]),
        "acceleration": getattr(protocol.corruption, "acceleration", None),
        "scans": count if isinstance(count, int) else getattr(protocol.data, "num_images", None),
    }


def prior(model: Model, domain: Domain, ask: str | int) -> dict[str, Any]:
    """Return what the prior was ``trained`` on, and whether a scan is ``like`` it, or why that is ``untested``.

    Parameters
    ----------
    model
        The prior's run.
    domain
        What counts as the prior's own kind.
    ask
        The scan, as it was measured, by the name that the worker knows it by; see ``reconstruction.ReadyScans``.
    """
    answer: dict[str, Any] = {"trained": training(model), "like": None}
    scan, size = reconstruction.scan_of(model, ask).scan, model.experiment.sampling_operators.size
    try:
        likeness = domain.likeness(scan)
    except DataError as error:
        return answer | {"untested": error.message}
    like = {"errors": likeness.errors, "usual": likeness.usual, "count": len(likeness.known[0])}
    like["at"] = None if scan.matrix == size else list(size)
    return answer | {"like": like | {"foreign": likeness.foreign, "held_out": likeness.held_out}}
