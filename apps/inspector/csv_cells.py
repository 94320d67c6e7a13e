"""Cells of tables that leave the app: nothing in them is taken for a formula."""

import re
from typing import Any

# Spreadsheets run what begins with these, the full-width forms included; tab and line breaks can shift it there.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
# A program that takes another sign for the one between cells (semicolons, where the comma is for decimals), or reads no
# quotes, sees a cell begin in the middle of a text.
_INSIDE = re.compile(r"([;,|\t\r\n])(?=[\s\"']*[=+\-@＝＋－＠])")


def safe_cell(value: Any) -> Any:
    """Return what may stand in a cell: numbers as they are, and text that no program evaluates.

    What begins like a formula, at the beginning or behind a sign that may part cells, gets an apostrophe, which
    spreadsheets show as text; NUL bytes go. The table's writer must put texts between quotes.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    text = str(value).replace("\x00", "")
    text = _INSIDE.sub(r"\1'", text)
    return "'" + text if text.lstrip(" \"'").startswith(_FORMULA) else text
