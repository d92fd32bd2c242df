"""Read raw rows from JSONL or Parquet, each with the place it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpc.errors import DpcError
from dpc.tasks.base import Problem, Task


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row of the JSONL or Parquet file at `path` with its source: `test.jsonl:12`, counted from 1.

    The source names the file without its folder, so that it is the same on every machine. Blank lines are
    passed over.

    Raises DpcError, while iterating, if the file is missing, unreadable, empty or of another kind, or if a
    line is no JSON object.
    """
    readers = {".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DpcError(f"{path}: found suffix {path.suffix!r}; expected .jsonl or .parquet: convert or rename the file")
    if not path.is_file():
        raise DpcError(f"{path}: no such file; expected rows as .jsonl or .parquet: correct the path in `datasets`")
    number = 0
    for number, row in reader(path):
        yield f"{path.name}:{number}", row
    if not number:
        raise DpcError(f"{path}: found no rows; expected one question per row: fetch or copy the file again")


def parse_rows(task: Task, path: Path) -> list[tuple[str, Problem]]:
    """Return every row of `path` as a problem of `task`, with its source.

    Raises DpcError that starts with file and row if a row cannot be read as one, and as `read_rows` does.
    """
    problems = []
    for source, row in read_rows(path):
        try:
            problems.append((source, task.parse(row)))
        except DpcError as error:
            raise DpcError(f"{path.with_name(source)}: {error}") from None
    return problems


def _read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, _object(line, f"{path}:{number}")
    except (OSError, UnicodeDecodeError) as error:
        raise DpcError(f"{path}: cannot be read as UTF-8 text ({error}); fetch or copy the file again") from None


def _object(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DpcError(f"{place}: not JSON ({error}); expected one JSON object per line: correct the line") from None
    if not isinstance(row, dict):
        kind = type(row).__name__
        raise DpcError(f"{place}: found a JSON {kind}; expected one JSON object per line: correct the line")
    return row


def _read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        rows = pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        raise DpcError(f"{path}: not a whole Parquet file ({reason}); fetch or copy the file again") from None
    yield from enumerate(rows, start=1)
