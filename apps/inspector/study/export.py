"""All answers as CSV: long format, UTF-8, and nothing a spreadsheet would take for a formula."""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

COLUMNS = (
    "study_id", "reader", "session", "question", "case", "trial", "repeat", "arms", "arm_left", "arm_right", "choice",
    "confidence", "comment", "answered_utc", "response_ms", "window_low", "window_high", "zoomed", "app_version",
)  # fmt: skip

# Spreadsheets run what begins with these, the full-width forms included; tab and line breaks can shift it there.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_cell(value: Any) -> Any:
    """Return what may stand in a cell: numbers as they are, and text that no program evaluates.

    Text that begins like a formula gets an apostrophe, which spreadsheets show as text; NUL bytes go.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    text = str(value).replace("\x00", "")
    return "'" + text if text.lstrip(" ").startswith(_FORMULA) else text


def to_csv(answers: Iterable[Mapping[str, Any]]) -> str:
    """Write answers, one row each."""
    page = io.StringIO(newline="")
    writer = csv.writer(page, quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for answer in answers:
        writer.writerow([safe_cell(answer.get(column)) for column in COLUMNS])
    return page.getvalue()
