"""Read the fields of a raw row: text without changes, or one line that says what was found and what to write."""

from __future__ import annotations

import json
import math
import re
import reprlib
from decimal import Decimal
from typing import Any

from dpc.config.messages import first_line
from dpc.errors import DpcError

Row = dict[str, Any]
_MOST_NAMES, _LONGEST_NUMBER = 12, 40
_INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
_BROKEN = re.compile(r"[\ud800-\udfff]|\x00|[\x08\x0c](?=[a-z])")
_BROKEN_BY = {
    "\x00": "which no text holds",
    "\x08": r"which JSON makes of one backslash before b: write two, `\\boxed`",
    "\x0c": r"which JSON makes of one backslash before f: write two, `\\frac`",
}


def text_of(row: Row, name: str, example: str) -> str:
    """Return field `name` without space around it; bytes are read as UTF-8.

    Raises DpcError where there is none, or it is no text: what was found, and `example` of what to write.
    """
    return _text(value_of(row, name), f"field {name!r}", example)


def texts_of(row: Row, name: str, expected: str, example: str) -> list[str]:
    """Return the items of field `name`, a list of texts; raises as `text_of` does, and where it is no list."""
    found = value_of(row, name)
    if not isinstance(found, list):
        raise DpcError(f"field {name!r} is {_kind(found)}; expected {expected}")
    return [_text(item, f"field {name!r}, item {number},", example) for number, item in enumerate(found, start=1)]


def number(value: object) -> str | None:
    """Return a finite number digit by digit, 72 as `72` and 0.1 as `0.1`; None for everything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal)) or not math.isfinite(value):
        return None
    return format(Decimal(repr(value)) if isinstance(value, float) else Decimal(value), "f")


def brief(value: object) -> str:
    """Return a value as Python writes it, cut short where that is long."""
    return reprlib.repr(value)


def shortened(text: str) -> str:
    """Return `text` as it is, or how it begins where it is longer than any number that somebody writes."""
    return text if len(text) <= _LONGEST_NUMBER else f"{text[: _LONGEST_NUMBER - 1]}…"


def value_of(row: Row, name: str) -> Any:
    """Return field `name` as it is. Raises DpcError where there is none: the names that are there."""
    if name not in row:
        raise DpcError(f"no field {name!r}; found {names_of(row)}")
    return row[name]


def names_of(row: Row) -> str:
    """Return the names of a row's fields as they can be printed, the first of many."""
    names = [key if key.isprintable() else ascii(key) for key in row]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{', '.join(names[:_MOST_NAMES]) or 'nothing'}{more}"


def _text(value: object, place: str, example: str) -> str:
    decoded = _decoded(value)
    if not isinstance(decoded, str) or _BROKEN.search(decoded) or _is_empty(decoded):
        raise DpcError(f"{place} is {_kind(decoded)}; expected text, such as {example!r}")
    return decoded.strip()


def _is_empty(value: str) -> bool:
    return not value.strip().strip(_INVISIBLE)


def _decoded(value: object) -> object:
    """Return bytes as the text they are in UTF-8, if they are; everything else as it is."""
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _kind(value: object) -> str:
    """Say in a few words what a value is."""
    if isinstance(value, str):
        return _kind_of_text(value)
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if digits := number(value):
        return f"the number {shortened(digits)}"
    if isinstance(value, float):
        return "NaN, as an empty cell of a table" if math.isnan(value) else "infinite"
    if isinstance(value, Exception):
        return f"a value that cannot be read ({first_line(value)})"
    if isinstance(value, list) and value and all(isinstance(item, dict) and "role" in item for item in value):
        return "a list of chat messages"
    words: dict[type, str] = {bytes: "bytes that are no UTF-8 text", list: "a list", dict: "a map"}
    return f"{words.get(type(value), f'a {type(value).__name__}')} ({brief(value)})"


def _kind_of_text(value: str) -> str:
    broken = _BROKEN.search(value)
    if not broken:
        return f"text ({brief(value)})" if not _is_empty(value) else "empty"
    why = _BROKEN_BY.get(broken.group(), "which is half a character")
    return f"text with {broken.group()!r} as character {broken.start() + 1}, {why}"
