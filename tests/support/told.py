"""Run the stages of a finished study again, in one process, and say which of the keys they are told they never read.

`python -m tests.support.told FOLDER` takes each stage's command from its log and writes JSON: stage, and its unread
keys. Where keys are left, a stage runs again under the changes of `OTHERWISE`: some are read in some cases only.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dpc.config.kinds import Settings
from dpc.config.settings import Trigger
from dpc.pipeline import cli
from dpc.storage import tables

Read = set[tuple[type[Settings], str]]
OTHERWISE: list[dict[str, Any]] = [
    {"trigger": {"share": "fitted"}},
    {"trigger": {"rule": "share_and_accumulation"}},
    {"trigger_if_affected": Trigger()},
    {"significance": {"min_cases": 1}},
    {"saliency": {"loss_span": "answer"}},
    {"act": {"threshold": "alpha"}},
]
"""Groups, and what is set in them, under which stages read other keys; or a group that is not given else."""


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


def changed(argv: list[str], change: dict[str, Any]) -> list[str] | None:
    """Return the command under a change of settings; None where the stage is told none of it."""
    at = argv.index("--settings") + 1
    raw = json.loads(argv[at])
    groups = [group for group in raw.keys() & change if not isinstance(raw[group], str)]  # a recipe, by its name
    if not groups or ("planting" in raw and "rule" in change.get("trigger", {})):
        return None  # which planted harm does not follow
    for group in groups:
        new, known = change[group], raw[group]
        whole = isinstance(new, Settings)
        raw[group] = new if whole else known | {key: value for key, value in new.items() if key in known}
    return [*argv[:at], cli.STAGES[argv[0]].model_validate(raw).model_dump_json(), *argv[at + 1 :]]


def unread(folder: Path) -> dict[str, list[str]]:
    """Return the keys of each stage that it did not read; what has no unread key is not run again."""
    keys, read = dict[str, set[tuple[str, type[Settings], str]]](), dict[str, Read]()
    for rule, argv in commands(folder).items():
        own, found = keys.setdefault(argv[0], set()), read.setdefault(argv[0], set())
        for command in filter(None, [argv, *(changed(argv, change) for change in OTHERWISE)]):
            own |= set(told(cli.STAGES[argv[0]].model_validate_json(command[command.index("--settings") + 1])))
            if not _unread(own, found):
                continue
            with recorded() as seen, contextlib.redirect_stderr(io.StringIO()):
                if cli.main(command):
                    raise SystemExit(f"{rule}: {shlex.join(command)} failed; see its log")
            found |= seen
    return {stage: _unread(own, read[stage]) for stage, own in keys.items()}


def _unread(keys: set[tuple[str, type[Settings], str]], read: Read) -> list[str]:
    return sorted(path for path, group, name in keys if (group, name) not in read)


def make_way(folder: Path) -> None:
    """Give every stage cause to read: nothing kept to take up, a confirmed head, every second answer right."""
    for store in list(folder.glob("results/**/store")):
        shutil.rmtree(store)
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
