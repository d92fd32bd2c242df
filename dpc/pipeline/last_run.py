"""What the last run into a results folder was told: other settings files that share it, and keys that changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dpc.config.settings import Config
from dpc.pipeline.terminal.reasons import differences

RECORD = Path("logs", "last_run.json")
"""In the results folder."""
_HOW = {"execution", "shards", "cluster"}
"""A change there reruns nothing."""


def notes(config: Config, files: list[str]) -> list[str]:
    """Return a line where the last run was told other settings files, and one that names the keys that changed."""
    before = _read(Path(config.study.results, RECORD))
    if not before:
        return []
    said = []
    if before["files"] != files:
        said.append(
            f"note: {config.study.results} was made with {_named(before['files'])}, and this run is told "
            f"{_named(files)}: what differs is made anew in its place; write another study.results to keep both"
        )
    if changed := differences(before["settings"], _settings(config)):
        said.append(f"note: changed since the last run: {'; '.join(changed)}")
    return said


def record(config: Config, files: list[str]) -> None:
    """Write down what this run is told."""
    file = Path(config.study.results, RECORD)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"files": files, "settings": _settings(config)}))


def _read(file: Path) -> dict[str, Any]:
    """Return what the last run recorded; nothing before the first, or where it was cut short."""
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    is_whole = isinstance(found, dict) and found.keys() == {"files", "settings"}
    return found if is_whole else {}


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that results depend on, of the catalogues what runs."""
    found = config.model_dump(mode="json", exclude=_HOW)
    for kind in ("models", "datasets", "recipes"):
        found[kind] = {name: found[kind][name] for name in found["study"][kind]}
    return found


def _named(files: list[str]) -> str:
    return " and ".join(files) or "config.yaml alone"
