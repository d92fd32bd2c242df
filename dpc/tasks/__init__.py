"""The benchmarks, by name."""

from __future__ import annotations

import importlib
from typing import cast

from dpc.config.declared import declared
from dpc.tasks.base import Facts, Problem, Task

__all__ = ["TASKS", "Problem", "Task", "get_task"]

TASKS: dict[str, Facts] = {name: Facts(**each.values) for name, each in declared("tasks", "Facts").items()}
"""What is known of each task without importing it."""


def get_task(name: str) -> Task:
    """Return the task module `name`; imports nothing else."""
    return cast(Task, importlib.import_module(f"dpc.tasks.{name}"))
