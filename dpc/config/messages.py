"""One line for every wrong setting: the key, what was found, what was expected, the nearest name; what to type."""

from __future__ import annotations

import difflib
import os
import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

LONGEST_VALUE = 60
QUIET = "DPC_QUIET"
"""In the environment of a run that has the terminal to itself: jobs say nothing there, it reads their logs."""
NAME_RULE = "expected letters, digits, `_`, `.` and `-`, with a letter, digit or `_` first"
SYNONYMS = {"gpu": "cuda"}
BROKEN = re.compile(r"[\ud800-\udfff\x00]")
PLAIN = {
    "missing": "is missing: add it",
    "dict_type": "expected a map of keys",
    "model_type": "expected a map of keys",
    "list_type": "expected a list",
    "string_type": "expected text: put it in quotes",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
}


def first_line(error: Exception) -> str:
    """Return the first line of what a library says of a fault; what cannot be printed is escaped."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return said if said.isprintable() else ascii(said)[1:-1]


def did_you_mean(name: object, known: Any) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or the list of known names."""
    near = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(map(str, known)))}"


def snakemake(target: str) -> str:
    """Return the command that makes `target` with this run's configuration files (from the environment)."""
    files = os.environ.get("DPC_CONFIGFILES")
    return f"snakemake {f'--configfile {files} ' if files else ''}--cores 1 -- {target}"


def one_line(error: ValidationError, group: type[BaseModel], raw: Any) -> str:
    """Say what is wrong in `raw`, which was to become a `group`: the first fault, misspelt keys before all others."""
    faults = [(_path(fault, raw), fault) for fault in error.errors()]
    path, first = min(faults, key=lambda found: found[1]["type"] != "extra_forbidden")
    if first["type"] == "extra_forbidden":
        return f"unknown key `{_written(path)}`{did_you_mean(path[-1], _keys_at(group, path[:-1]))}"
    if first["type"] == "missing":
        return f"`{_written(path)}` {PLAIN['missing']}"
    if first["type"] == "json_invalid":
        return f"not JSON: {first['ctx']['error']}"
    if first["type"] == "value_error" and isinstance(first["input"], dict):
        return f"{_written(path) + ': ' if path else ''}{first['ctx']['error']}"
    same_place = [fault for place, fault in faults if place == path]
    wanted = " or ".join(dict.fromkeys(_wanted(fault) for fault in same_place)).replace(" or expected ", " or ")
    return f"`{_written(path)}` is {_value(first['input'])}: {wanted}"


def broken_text(raw: Any, path: tuple[Any, ...] = ()) -> str:
    """Say where in a configuration there is half a character, or one that no text holds; nothing where all is whole."""
    if isinstance(raw, str) and (broken := BROKEN.search(raw)):
        return f"`{_written(path)}` has {broken.group()!r}, which is no whole character; write the character itself"
    parts = raw.items() if isinstance(raw, dict) else enumerate(raw) if isinstance(raw, list) else ()
    return next(filter(None, (broken_text(key, path) or broken_text(part, (*path, key)) for key, part in parts)), "")


def _path(fault: Any, raw: Any) -> tuple[Any, ...]:
    """Return where a fault lies: pydantic's location without its marks for unions and keys, which `raw` lacks."""
    path, here = [], raw
    for part in fault["loc"]:
        if part in (here if isinstance(here, dict) else range(len(here)) if isinstance(here, list) else ()):
            here = here[part]
            path.append(part)
    return (*path, fault["loc"][-1]) if fault["type"] == "missing" else tuple(path)


def _written(path: tuple[Any, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _value(value: Any) -> str:
    text = "empty" if value is None else repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def _wanted(fault: Any) -> str:
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    if fault["type"] == "string_pattern_mismatch":
        return NAME_RULE if fault["loc"][-1] == "[key]" else "expected text without { and }"
    if fault["type"] == "literal_error":
        names = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        meant = SYNONYMS.get(str(fault["input"]).lower())
        near = difflib.get_close_matches(str(fault["input"]), names, n=1, cutoff=0.6) if len(names) > 1 else []
        near = [meant] if meant in names else near
        return f"expected {fault['ctx']['expected']}" + (f"; did you mean {near[0]!r}?" if near else "")
    if fault["type"] == "too_short":
        return f"expected {fault['ctx']['min_length']} or more in it"
    known = PLAIN.get(fault["type"])
    message = fault["msg"].removeprefix("Input should be ")
    return known or f"expected {'' if message.startswith('a ') else 'a value '}{message[0].lower()}{message[1:]}"


def _keys_at(group: Any, path: tuple[Any, ...]) -> list[str]:
    """Return the keys that the settings group at `path` knows."""
    for part in path:
        fields = getattr(group, "model_fields", None)
        group = fields[part].annotation if fields else get_args(group)[-1]
        # of `Files | None` the group; a map stays what it is
        options = [kind for kind in get_args(group) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        group = options[0] if options and getattr(group, "__origin__", None) is not dict else group
    return list(group.model_fields)
