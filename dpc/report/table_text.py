"""A table for readers, and how numbers are written in one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dpc.report import wording
from dpc.report.wording import DASH

CELL = ["model", "dataset", "recipe"]


@dataclass(frozen=True)
class Table:
    """One table: `numbers` for the CSV, `text` for readers."""

    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    caption: str


def percent(value: Any, digits: int = 1) -> str:
    """Write a share in percent, a dash where there is none."""
    value = wording.real(value)
    return DASH if math.isnan(value) else f"{100 * value:z.{digits}f}".replace("-", "−")


def plain(value: Any, digits: int) -> str:
    """Write a number, a dash where there is none."""
    value = wording.real(value)
    return DASH if math.isnan(value) else f"{value:z.{digits}f}".replace("-", "−")


def span(low: Any, high: Any) -> str:
    """Write two shares as `36.0 to 40.2` percent, a dash where there are none."""
    return DASH if math.isnan(wording.real(low)) else f"{percent(low)} to {percent(high)}"


def points(value: Any, low: Any, high: Any) -> str:
    """Write a difference of shares as `+2.1 [−0.4, 4.6]` in percentage points, a dash where there is none."""
    value, low, high = (100 * wording.real(number) for number in (value, low, high))
    if math.isnan(value):
        return DASH
    return f"{value:+z.1f} [{low:z.1f}, {high:z.1f}]".replace("-", "−")


def bracketed(value: Any, low: Any, high: Any, digits: int = 2) -> str:
    """Write `0.68 [0.57, 0.78]`, a dash where there is no value."""
    if math.isnan(wording.real(value)):
        return DASH
    return wording.interval(value, low, high, digits)


def percents(value: Any, low: Any, high: Any) -> str:
    """Write shares as `68.0 [57.0, 78.0]` in percent, a dash where there is no value."""
    value, low, high = (100 * wording.real(number) for number in (value, low, high))
    return bracketed(value, low, high, digits=1)


def ranged(low: Any, high: Any) -> str:
    """Write two numbers as `0.57 to 0.78`, a dash where there are none."""
    return DASH if math.isnan(wording.real(low)) else f"{wording.number(low)} to {wording.number(high)}"


def p_text(value: Any) -> str:
    """Write a p value: `0.012`, `<0.001`, a dash where there is none."""
    value = wording.real(value)
    return DASH if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def p_texts(values: Iterable[Any]) -> str:
    """Write several p values, one per seed: `0.012; <0.001; –`."""
    return "; ".join(map(p_text, values))


def named_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that name a cell, a dash for no recipe."""
    return rows[CELL].astype(str).replace("", DASH).reset_index(drop=True)


def spans(rows: pd.DataFrame, low: str, high: str) -> list[str]:
    """Write the shares of two columns as `36.0 to 40.2` percent."""
    return [span(*pair) for pair in zip(rows[low], rows[high], strict=True)]


def questions(rows: pd.DataFrame) -> list[int]:
    """Return how many questions the rows rest on."""
    return [int(count) for count in rows["questions"].dropna()]
