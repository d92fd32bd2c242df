"""The benchmarks, by name."""

from __future__ import annotations

import importlib
import json
from functools import cache
from typing import cast

from dpc.config.declared import declared
from dpc.config.kinds import AnyTask, OwnTask
from dpc.tasks.base import Facts, Problem, Task

__all__ = ["TASKS", "Problem", "Task", "get_task"]

TASKS: dict[str, Facts] = {name: Facts(**each.values) for name, each in declared("tasks", "Facts").items()}
"""What is known of each task without importing it."""


def get_task(task: AnyTask) -> Task:
    """Return the module of a task, or what it makes of the options that go with its name; imports nothing else."""
    if isinstance(task, OwnTask):
        return _with_options(task.name, task.model_dump_json(include={"options"}))
    return cast(Task, importlib.import_module(f"dpc.tasks.{task}"))


@cache
def _with_options(name: str, told: str) -> Task:
    module = importlib.import_module(f"dpc.tasks.{name}")
    return cast(Task, module.with_options(json.loads(told)["options"]))
