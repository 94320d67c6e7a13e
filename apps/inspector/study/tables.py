"""Tables that a person reads, and how figures are written in them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .statistics import Interval

Answer = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    title
        What it shows.
    columns, rows
        Text.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def question_of(answer: Answer) -> tuple[Any, ...]:
    """Return what tells a question from others: its case and its arms, whatever the sides."""
    return (answer["case"], *sorted(answer["arms"]))


def show(interval: Interval, form: Callable[[float], str]) -> str:
    """Write a figure with its interval, as far as there is one."""
    if math.isnan(interval.value):
        return "none"
    reach = "" if math.isnan(interval.low) else f" ({form(interval.low)} to {form(interval.high)})"
    return form(interval.value) + reach


def percent_text(interval: Interval) -> str:
    """Write a share with its interval."""
    return show(interval, lambda value: f"{100 * value:.0f} %")


def number_text(value: float) -> str:
    """Write a number."""
    return "none" if math.isnan(value) else f"{value:.2f}"


def p_text(value: float) -> str:
    """Write a p-value."""
    return "none" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"
