"""The keys of `config.yaml`: those that the model knows, and those that the file shows, comments included."""

from __future__ import annotations

import re
from typing import Any, get_args

import yaml

from dpc.config.kinds import Settings
from dpc.config.settings import Config
from tests.support.paths import ROOT
from tests.support.workflow import overlay

CATALOGUES = ("models", "datasets", "formats", "recipes")
QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
EXAMPLE = re.compile(r"^  # (?= *[\w-]+:)", re.MULTILINE)


def config() -> dict[str, Any]:
    """Return `config.yaml` as it stands."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def demo() -> dict[str, Any]:
    """Return `config.yaml` with `workflow/demo.yaml` over it."""
    return overlay(config(), yaml.safe_load((ROOT / "workflow" / "demo.yaml").read_text()))


def with_examples() -> str:
    """Return the text of `config.yaml` with its commented examples as live keys."""
    return EXAMPLE.sub("  ", (ROOT / "config.yaml").read_text())


def _group(kind: Any) -> type[Settings] | None:
    found = [k for k in (kind, *get_args(kind)) if isinstance(k, type) and issubclass(k, Settings)]
    return found[0] if found else None


def model_leaves(group: type[Settings] = Config, above: str = "") -> list[str]:
    """Return every leaf key of the model as a dotted path; `*` stands for names in a catalogue."""
    leaves = []
    for name, field in group.model_fields.items():
        path = f"{above}{name}" + (".*" if group is Config and name in CATALOGUES else "")
        inner = _group(field.annotation)
        leaves += model_leaves(inner, f"{path}.") if inner else [path]
    return leaves


def file_leaves(text: str) -> dict[str, list[int]]:
    """Return every leaf key of a YAML text, `*` for names in a catalogue, with the lines it stands on (from 0)."""
    leaves: dict[str, list[int]] = {}
    _collect(yaml.compose(text), (), leaves)
    return leaves


def _collect(node: Any, path: tuple[str, ...], leaves: dict[str, list[int]]) -> None:
    for key, value in node.value:
        is_name = len(path) == 1 and path[0] in CATALOGUES
        here = (*path, "*" if is_name else key.value)
        is_told = here[-1] == "options"  # one key to the model: a tuner's or task's own file says what is in it
        if isinstance(value, yaml.MappingNode) and value.value and not is_told:
            _collect(value, here, leaves)
        else:
            leaves.setdefault(".".join(here), []).append(key.start_mark.line)


def has_comment(line: str) -> bool:
    """Say whether a line of YAML ends in a comment."""
    return "#" in QUOTED.sub("", line)


def is_explained(lines: list[str], number: int) -> bool:
    """Say whether a key's line, or that of the key it belongs to, has a comment."""
    depth = _depth(lines[number])
    parents = (n for n in range(number - 1, -1, -1) if depth and lines[n].strip() and _depth(lines[n]) < depth)
    return has_comment(lines[number]) or has_comment(lines[next(parents, number)])


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip())
