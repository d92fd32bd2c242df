"""Why a job runs again, in a few words: the keys that changed, instead of two copies of all its settings."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_SHORT = {
    "Missing output files": "not made yet",
    "Incomplete output files": "was interrupted",
    "Updated input files": "an input is newer",
    "Input files updated by another job": "its inputs are made anew",
    "Forced execution": "asked for by name",
    "Set of input files has changed": "other inputs",
    "Code has changed": "its rule changed",
}
_LONGEST = 40


def why(reason: str) -> str:
    """Return `trigger.kappa 1.0 → 1.5` for what Snakemake says of changed settings, else its reason in a few words."""
    found = changes(reason)
    if found:
        return "; ".join(found)
    return next((short for long, short in _SHORT.items() if long in reason), "its files or settings changed")


def changes(reason: str) -> list[str]:
    """Return every setting that differs between the two sets of params in `reason`, and the stage's version."""
    found = re.search(r"before: (?P<before>.*) now: (?P<now>.*)", reason, re.DOTALL)
    if not found:
        return []
    before, now = (_settings(found[side]) for side in ("before", "now"))
    return differences(before, now) or _version(found["before"], found["now"])


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return `trigger.kappa 1.0 → 1.5` for every key in which two trees of settings differ."""
    old, new = dict(_leaves(before)), dict(_leaves(now))
    keys = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    return [f"{key} {_value(old, key)} → {_value(new, key)}" for key in keys]


def _version(before: str, now: str) -> list[str]:
    """Return the stage's version where that is all that changed: a number that stands alone."""
    numbers = [re.findall(r"(?:^|,)\s*'?(\d+)'?\s*(?=,|;|$)", side) for side in (before, now)]
    return [f"version of the stage {numbers[0][0]} → {numbers[1][0]}"] if all(numbers) else []


def _settings(text: str) -> dict[str, Any]:
    """Return what the JSON maps in `text`, which Snakemake wrote as Python does, hold together."""
    text, together = text.replace("\\\\", "\\"), dict[str, Any]()
    start = text.find("{")
    while start >= 0:
        try:
            found, end = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            start = text.find("{", start + 1)
            continue
        together |= found
        start = text.find("{", end)
    return together


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def _value(settings: dict[str, Any], key: str) -> str:
    text = json.dumps(settings[key], ensure_ascii=False) if key in settings else "none"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
