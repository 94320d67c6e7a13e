"""Cells of tables that leave the app: nothing in them is taken for a formula."""

from typing import Any

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
