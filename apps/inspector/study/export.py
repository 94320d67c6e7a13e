"""All answers as CSV: long format, UTF-8, and nothing a spreadsheet would take for a formula."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from ..csv_cells import safe_cell

COLUMNS = (
    "study_id", "reader", "session", "question", "case", "trial", "repeat", "revised", "arms", "arm_left", "arm_right",
    "choice", "confidence", "comment", "answered_utc", "response_ms", "window_low", "window_high", "zoomed",
    "app_version",
)  # fmt: skip


def to_csv(answers: Iterable[Mapping[str, Any]]) -> str:
    """Write answers, one row each."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        writer.writerow([safe_cell(answer.get(column)) for column in COLUMNS])
    return page.getvalue()
