"""The benchmarks, by name."""

from __future__ import annotations

import importlib
from typing import cast

from dpc.tasks.base import Problem, Task

__all__ = ["Problem", "Task", "get_task"]


def get_task(name: str) -> Task:
    """Return the task module `name`; imports nothing else."""
    return cast(Task, importlib.import_module(f"dpc.tasks.{name}"))
