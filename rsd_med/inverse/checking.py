"""The check on hidden lines for a volume: which slices, how much work, and what comes of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rsd_med.base.errors import DataError, FewLinesError
from rsd_med.base.progress import Progress, part_of
from rsd_med.corruptions.measurement import Measurement
from rsd_med.data.scan import Scan
from rsd_med.data.source import Source
from rsd_med.inverse.base import SLICES
from rsd_med.inverse.choice import Row, Table
from rsd_med.inverse.hidden_lines import Candidate, Errors, predict
from rsd_med.inverse.hiding import enough_draws, lines_of
from rsd_med.inverse.scans import Prepared


@dataclass(frozen=True)
class Verdict:
    """What a check says of one volume.

    Attributes
    ----------
    candidate
        The method to take.
    table
        How all methods predict hidden lines; None where nothing could be hidden.
    reason
        Why there is no table.
    """

    candidate: Candidate
    table: Table | None
    reason: str | None = None

    @property
    def warning(self) -> str | None:
        """What speaks against the method on this scan; None where nothing does."""
        return None if self.table is None else self.table.warning(self.table.row_of(self.candidate))

    def record(self) -> dict[str, Any]:
        """Return what the record of a volume holds."""
        if self.table is None:
            return {"skipped": self.reason}
        return self.table.as_dict() | {"method": self.candidate.name, "warning": self.warning}


@dataclass(frozen=True)
class Check:
    """Judge methods on volumes before these are reconstructed.

    Attributes
    ----------
    candidates
        From simple to complicated.
    default
        The method to take where nothing is to be chosen, or can be hidden.
    automatic
        Take the best instead.
    draws
        How often lines of a volume are hidden altogether, at least.
    seed
        The same seed, the same table.
    device
        Where the methods compute.
    announce
        Given one sentence about how much work it will be, before it begins.
    """

    candidates: Sequence[Candidate]
    default: Candidate
    automatic: bool
    draws: int
    seed: int = 0
    device: torch.device | str = "cpu"
    announce: Callable[[str], None] = print

    def __call__(
        self, source: Source, items: Sequence[int], prepare: Callable[[Scan], Prepared], progress: Progress
    ) -> Verdict:
        """Judge one volume.

        Parameters
        ----------
        source, items
            Where the slices come from, and which.
        prepare
            From a scan to its measurement.
        progress
            Told the share that is done; may raise to cancel.

        Raises
        ------
        DataError
            If an item is no raw scan, or cannot be used.
        """
        try:
            table = self._table(source, items, prepare, progress)
        except FewLinesError as error:
            return Verdict(self.default, None, str(error))
        return Verdict(table.chosen().candidate if self.automatic else self.default, table)

    def _table(
        self, source: Source, items: Sequence[int], prepare: Callable[[Scan], Prepared], progress: Progress
    ) -> Table:
        count, each = min(SLICES, len(items)), 0
        parts: list[list[Errors]] = []
        for number in range(count):
            scan = source[items[(2 * number + 1) * len(items) // (2 * count)]]
            if not isinstance(scan, Scan):
                raise DataError(f"{scan.id}: the file holds images, and the check on hidden lines needs raw k-space.")
            measurement = prepare(scan).measurement.to(self.device)
            if number == 0:
                each = math.ceil(enough_draws(lines_of(measurement), self.draws) / count)
                learning = sum(candidate.solver.learns for candidate in self.candidates)
                self.announce(
                    f"check on hidden lines: {len(self.candidates)} methods, {each} draws on {count} of {len(items)} "
                    f"slices, so {len(self.candidates) * each * count} reconstructions first"
                    + (f", for which {learning} of the methods learns from {count} slices" if learning else "")
                )
            report = part_of(progress, number, count)
            parts.append(predict(measurement, self.candidates, each, self.seed, report))
        errors = [Errors.cat(column) for column in zip(*parts, strict=True)]
        return Table(tuple(map(Row, self.candidates, errors)), each, count)


def check_slice(
    measurement: Measurement, candidates: Sequence[Candidate], draws: int, seed: int, progress: Progress
) -> Table:
    """Judge methods on one slice.

    Parameters
    ----------
    measurement
        A batch of one, where the methods compute.
    candidates
        From simple to complicated.
    draws
        How often lines are hidden, at least.
    seed
        The same seed, the same table.
    progress
        Told the share that is done; may raise to cancel.

    Raises
    ------
    FewLinesError
        If too few lines lie outside the centre.
    """
    draws = enough_draws(lines_of(measurement), draws)
    errors = predict(measurement, candidates, draws, seed, progress)
    return Table(tuple(map(Row, candidates, errors)), draws, 1)
