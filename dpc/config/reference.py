"""The reference page of the configuration, `docs/configuration.md`, made from the JSON schema: `make schema`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dpc.config import schema

HEAD = """# Configuration reference

Every key of `config.yaml`. `make schema` writes this page from the docstrings: do not edit it. Write only what
differs from `config.yaml` into a file of your own and give it with `--configfile`. NAME is a name of your choice.
D1 to D31 are the choices in [choices.md](choices.md). Where the default is "required", the key has to be written.
"""
COLUMNS = "| key | values | default | meaning |\n|---|---|---|---|"


def text() -> str:
    """Return the page as Markdown."""
    tree = json.loads(schema.text())
    pages = [f"## {name}\n\n{_meaning(tree, entry)}\n\n{COLUMNS}\n" for name, entry in tree["properties"].items()]
    rows = ["\n".join(_rows(tree, name, entry)) for name, entry in tree["properties"].items()]
    return "\n".join([HEAD, *(page + row + "\n" for page, row in zip(pages, rows, strict=True))])


def _rows(tree: dict[str, Any], key: str, entry: dict[str, Any]) -> Iterator[str]:
    """Yield the table's rows for `key`: one for a value, those of its keys for a group."""
    group = _group(tree, entry)
    if "patternProperties" in group:
        inner = next(iter(group["patternProperties"].values()))
        yield from _rows(tree, f"{key}.NAME", {"description": _meaning(tree, entry), **inner})
    elif "properties" in group:
        needed = group.get("required", [])
        for name, value in group["properties"].items():
            yield from _rows(tree, f"{key}.{name}", {**value, "needed": name in needed})
    else:
        default = "required" if entry.get("needed") else _code(entry.get("default"))
        cells = (_code(key, as_json=False), _values(tree, group), default, _meaning(tree, entry))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _group(tree: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that `entry` refers to: a group that may be null is that group."""
    choices = [choice for choice in entry.get("anyOf", []) if choice.get("type") != "null"]
    if len(choices) == 1:
        entry = {**entry, **choices[0]}
    if "$ref" in entry:
        return dict(tree["$defs"][entry["$ref"].rpartition("/")[2]])
    return entry


def _meaning(tree: dict[str, Any], entry: dict[str, Any]) -> str:
    return " ".join((entry.get("description") or _group(tree, entry).get("description", "")).split())


def _values(tree: dict[str, Any], entry: dict[str, Any]) -> str:
    """Say which values an entry takes."""
    if "$ref" in entry:
        entry = _group(tree, entry)
    if "anyOf" in entry:
        return " or ".join(_values(tree, choice) for choice in entry["anyOf"])
    if "enum" in entry or "const" in entry:
        return ", ".join(_code(value) for value in entry.get("enum", [entry.get("const")]))
    if entry.get("type") == "array":
        return f"list of {_values(tree, entry['items'])}" if "items" in entry else "list"
    words = {
        "number": "number",
        "integer": "whole number",
        "string": "text",
        "boolean": "true or false",
        "null": "null",
    }
    return words.get(entry.get("type", ""), "map") + _bounds(entry)


def _bounds(entry: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    found = [f"{sign} {entry[name]:g}" for name, sign in signs.items() if name in entry]
    return " " + ", ".join(found) if found else ""


def _code(value: Any, as_json: bool = True) -> str:
    """Write a value as it would stand in the configuration; nothing for none."""
    if value is None:
        return ""
    written = json.dumps(value, ensure_ascii=False) if as_json and not isinstance(value, str) else str(value)
    return f"`{written}`"


if __name__ == "__main__":
    print(text(), end="")
