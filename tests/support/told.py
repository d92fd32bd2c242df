"""Run the stages of a finished study again, in one process, and say which of the keys they are told they never read.

`python -m tests.support.told FOLDER` takes each stage's command from its log and writes JSON: stage, and its unread
keys. A stage runs once as it ran, and once more under every change of `OTHERWISE`: some keys are read in some cases.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpc.config.kinds import Settings
from dpc.pipeline import cli
from dpc.storage import tables

Read = set[tuple[type[Settings], str]]
OTHERWISE: list[dict[str, dict[str, Any]]] = [
    {"trigger": {"share": "fitted"}},
    {"trigger": {"rule": "share_and_accumulation"}},
    {"trigger_if_affected": {"kappa": 1.0, "baseline": "former", "granularity": "token", "min_tokens": 4}},
    {"significance": {"min_cases": 1}},
    {"saliency": {"loss_span": "answer"}},
    {"act": {"threshold": "alpha"}},
]
"""Groups, and what is set in them, under which stages read other keys."""


@contextlib.contextmanager
def recorded() -> Iterator[Read]:
    """Record which field of which group is read by name; pydantic itself writes and compares without."""
    found: Read = set()

    def read(self: Settings, name: str) -> Any:
        if not name.startswith("_"):
            found.add((type(self), name))
        return object.__getattribute__(self, name)

    Settings.__getattribute__ = read  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del Settings.__getattribute__


def told(settings: Settings, path: str = "") -> Iterator[tuple[str, type[Settings], str]]:
    """Yield every key with its group and name; a group that is not given has no keys."""
    for name, value in vars(settings).items():
        if isinstance(value, Settings):
            yield from told(value, f"{path}{name}.")
        elif name != "trigger_if_affected":
            yield f"{path}{name}", type(settings), name


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the last command of each stage, by rule: rules of one stage are told the same."""
    found = {}
    for file in sorted(folder.glob("results/logs/*/*.log")) + sorted(folder.glob("results/logs/*.log")):
        for line in re.findall(r"again by hand: (.*)", file.read_text()):
            found[file.parent.name if file.parent.name != "logs" else file.stem] = shlex.split(line)[3:]
    return found


def changed(argv: list[str], change: dict[str, dict[str, Any]]) -> list[str] | None:
    """Return the command under a change of settings; None where the stage is told none of it."""
    at = argv.index("--settings") + 1
    raw = json.loads(argv[at])
    groups = [group for group in raw.keys() & change if not isinstance(raw[group], str)]  # a recipe, by its name
    if not groups or ("planting" in raw and "rule" in change.get("trigger", {})):
        return None  # which planted harm does not follow
    for group in groups:
        known = raw[group] or change[group]
        raw[group] = known | {key: value for key, value in change[group].items() if key in known}
    return [*argv[:at], json.dumps(raw), *argv[at + 1 :]]


def unread(folder: Path) -> dict[str, list[str]]:
    """Return the keys of each stage that it did not read."""
    found: dict[str, list[str]] = {}
    for rule, argv in commands(folder).items():
        stage, keys = argv[0], set[tuple[str, type[Settings], str]]()
        with recorded() as read:
            for command in filter(None, [argv, *(changed(argv, change) for change in OTHERWISE)]):
                keys |= set(told(cli.STAGES[stage].model_validate_json(command[command.index("--settings") + 1])))
                with contextlib.redirect_stderr(io.StringIO()):
                    if cli.main(command):
                        raise SystemExit(f"{rule}: {shlex.join(command)} failed; see its log")
        never = {path for path, group, name in keys if (group, name) not in read}
        found[stage] = sorted(never & set(found.get(stage, never)))
    return found


def make_way(folder: Path) -> None:
    """Confirm a head, and call every second answer right: what looks at neither reads few of its settings."""
    for file in folder.glob("results/*/*/*/*/act/heads.parquet"):
        first = tables.read(file, "act_heads").head(1).assign(layer=0, head=0, kept=True, confirmed=True)
        tables.write(file, "act_heads", first, {})
    for file in folder.glob("results/*/*/*/*/verdicts/*/base.parquet"):
        graded = tables.read(file, "verdicts")
        tables.write(file, "verdicts", graded.assign(correct=graded.index % 2 == 0), {})


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    make_way(Path())
    print(json.dumps(unread(Path())))
