"""Read raw rows from JSONL or Parquet, each with the place it came from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from dpc.errors import DpcError
from dpc.tasks.base import Problem, Task
from dpc.tasks.fields import Row, names_of

Columns = dict[str, str]
"""A task's field, and what rows call it: `datasets.NAME.columns`."""


class RowError(DpcError):
    """A row that cannot be read, where a row as it should be helps."""


Reader = Callable[[Path], Iterator[tuple[int, Row]]]


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield each row of the JSONL or Parquet file at `path` with its source: `test.jsonl:12`, counted from 1.

    The source names the file without its folder, so that it is the same on every machine. Blank lines are
    passed over.

    Raises DpcError, while iterating, if the file is missing, unreadable, empty or of another kind, or if a
    line is no JSON object with keys of its own.
    """
    reader = reader_of(path)
    if not path.is_file():
        raise DpcError(f"{path}: no such file; expected rows as .jsonl or .parquet: correct the path in `datasets`")
    number = 0
    for number, row in reader(path):
        yield f"{path.name}:{number}", row
    if not number:
        raise RowError(f"{path}: found no rows; expected one question per row: fetch or copy the file again")


def reader_of(path: Path) -> Reader:
    """Return what yields the rows of a file with this suffix. Raises DpcError for any but .jsonl and .parquet."""
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return _read_jsonl
    if suffix == ".parquet":
        from dpc.tasks.parquet import read_parquet  # pyarrow: every job imports this module

        return read_parquet
    found = "a folder" if path.is_dir() else f"suffix {path.suffix!r}"
    raise DpcError(f"{path}: found {found}; expected a .jsonl or .parquet file: convert or rename it")


def parse_rows(task: Task, path: Path, columns: Columns | None = None) -> list[tuple[str, Problem]]:
    """Return every row of `path`, whose fields are called as in `columns`, as a problem of `task`, with its source.

    Raises DpcError that starts with file and row and ends with a row as it should be, and as `read_rows` does.
    """
    columns, problems = columns or {}, []
    try:
        for source, row in read_rows(path):
            try:
                problems.append((source, task.parse(renamed(row, columns))))
            except DpcError as error:
                raise RowError(f"{path.with_name(source)}: {in_own_words(str(error), columns)}") from None
    except RowError as error:
        raise DpcError(f"{error}{example(task, columns)}") from None
    return problems


def renamed(row: Row, columns: Columns) -> Row:
    """Return a row with its fields named as the task names them. Raises DpcError where one of `columns` is absent."""
    for name, own in columns.items():
        if own not in row:
            raise DpcError(f"no field {own!r}, which `columns` names for {name!r}; found {names_of(row)}")
    kept = {name: value for name, value in row.items() if name not in columns.values()}
    return kept | {name: row[own] for name, own in columns.items()}


def in_own_words(message: str, columns: Columns) -> str:
    """Return what a task says of a row with its fields called as the row calls them."""
    said = {f"field {name!r}": f"field {own!r}" for name, own in columns.items()}
    return re.sub("|".join(map(re.escape, said)), lambda found: said[found[0]], message) if said else message


def example(task: Task, columns: Columns, fields: Collection[str] | None = None) -> str:
    """Return the end of a message about a row: one as it should be, in these columns; of `fields`, where not of all."""
    kept = task.FACTS.row.keys() if fields is None else fields
    row = {columns.get(name, name): value for name, value in task.FACTS.row.items() if name in kept}
    return f"; such a row: {json.dumps(row, ensure_ascii=False)}" if row else ""


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text in UTF-8 that are not blank, with their numbers, from 1.

    Raises DpcError, while iterating, that names the line that is no UTF-8, or the file where it cannot be read.
    """
    try:
        with path.open("rb") as lines:  # one by one: what is no UTF-8 is named by its line
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _decoded(line, f"{path}:{number}")
    except OSError as error:
        raise DpcError(f"{path}: cannot be read ({error.strerror}); fetch or copy the file again") from None


def _read_jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    for number, line in lines_of(path):
        yield number, _object(line, f"{path}:{number}")


def _decoded(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RowError(f"{place}: cannot be read as UTF-8 text ({error}); save or fetch the file as UTF-8") from None


def _object(line: str, place: str) -> Row:
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # a ValueError also for digits by the thousand
        said, mend = str(error), "correct the line"
        if isinstance(error, json.JSONDecodeError):  # its line is counted within the one line it was given
            said = f"{error.msg} at character {min(error.pos, len(line.rstrip())) + 1}"
        if line.strip() in ("[", "{"):
            mend = "this file has one value over many lines; write each question on a line of its own"
        raise RowError(f"{place}: not JSON ({said}); expected one JSON object per line: {mend}") from None
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise RowError(f"{place}: found a JSON {kind}; expected one JSON object per line: correct the line")
    return row


def _once(pairs: list[tuple[str, Any]]) -> Row:
    """Return an object of JSON; raises ValueError for a key that stands there twice, of which one would be lost."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {max(names, key=names.count)!a} twice")
    return row
