"""Gold answers of the real benchmark files, graded by the tasks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from dpc.tasks import get_task
from dpc.tasks.rows import read_rows
from tests.support.paths import DATA

Row = dict[str, Any]


def rows_of(name: str, file: str) -> list[Row]:
    return [row for _, row in read_rows(DATA / name / file)]


def sample(rows: list[Row], size: int = 200) -> list[Row]:
    return random.Random(1).sample(rows, size)


def missed(name: str, rows: list[Row], field: str, lenient: bool = False) -> list[int]:
    """Grade each gold text by itself; return the numbers of the rows, from 1, that are not found right."""
    task = get_task(name)
    right = [task.grade(task.extract(row[field])[lenient], task.parse(row).answer) for row in rows]
    return [number for number, is_right in enumerate(right, start=1) if not is_right]


def accepted_by_others(name: str, rows: list[Row], per_row: int, key: Callable[[str], str] = str) -> float:
    """Return the share accepted of up to `per_row` answers of other rows, different by `key`, for each gold answer."""
    task, rng = get_task(name), random.Random(0)
    answers = [task.parse(row).answer for row in rows]
    keys = [key(answer) for answer in answers]
    graded = [
        task.grade(answers[j], answer)
        for i, answer in enumerate(answers)
        for j in [j for j in rng.sample(range(len(rows)), min(len(rows), 4 * per_row)) if keys[j] != keys[i]][:per_row]
    ]
    assert len(graded) > 0.7 * per_row * len(rows)
    return sum(graded) / len(graded)
