"""Questions without gold: rows that a dataset's task reads, or a text with one question a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dpc.errors import DpcError
from dpc.tasks.base import Task
from dpc.tasks.fields import Row
from dpc.tasks.rows import Columns, RowError, example, in_own_words, lines_of, read_rows, renamed

TEXT = ".txt"
MOST_NAMED = 20


def read_questions(task: Task, path: Path, columns: Columns | None = None) -> list[tuple[str, str]]:
    """Return the source (`mine.jsonl:3`) and the text of every question in a JSONL, Parquet or text file, in order.

    `columns` says how rows call the task's fields, where they call them otherwise. Gold may stand in the rows and is
    not read. Raises DpcError that names every row that is no question, and as `read_rows` does.
    """
    questions, bad = list[tuple[str, str]](), list[tuple[str, DpcError]]()
    asked = _asked_for(task, columns or {})
    like = example(task, asked, _fields(task))
    try:
        for source, row in _rows(task, path):
            try:
                questions.append((source, task.question(renamed(row, asked) if path.suffix.lower() != TEXT else row)))
            except DpcError as error:
                bad.append((source, error))
    except RowError as error:
        raise DpcError(f"{error}{like}") from None
    if bad:
        said = in_own_words(str(bad[0][1]), asked)
        raise DpcError(f"{path.with_name(bad[0][0])}: {said}{also([source for source, _ in bad])}{like}")
    return questions


def _asked_for(task: Task, columns: Columns) -> Columns:
    """Return the columns of what is asked; those of gold need not be there."""
    return {name: own for name, own in columns.items() if name in _fields(task)}


def _fields(task: Task) -> tuple[str, ...]:
    """Return the fields of a row that make a question: options belong to it."""
    return (task.FACTS.asked_in, "options")


def also(sources: list[str]) -> str:
    """Return what names the rows behind the first one in an error: nothing where there is no other."""
    named = ", ".join(sources[1:MOST_NAMED]) + f" and {len(sources) - MOST_NAMED} more" * (len(sources) > MOST_NAMED)
    return f" (and so are {named})" if named else ""


def _rows(task: Task, path: Path) -> Iterator[tuple[str, Row]]:
    if not path.is_file():
        raise DpcError(f"{path}: no such file; expected questions as .jsonl, .parquet or .txt")
    if path.suffix.lower() != TEXT:
        yield from read_rows(path)
        return
    number = 0
    for number, line in lines_of(path):
        yield f"{path.name}:{number}", {task.FACTS.asked_in: line}
    if not number:
        raise DpcError(f"{path}: found no questions; expected one a line")
