"""The table of runs, and the figures read off it: ratios within a round, slopes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.suite import Growth, Pair, Work
from dpc.errors import DpcError
from dpc.storage.files import atomic

Row = dict[str, Any]
Runs = dict[tuple[str, str, str], list[Row]]
"""Rows by script, options and method."""
_S, _I, _F = pa.string(), pa.int32(), pa.float64()
COLUMNS: dict[str, pa.DataType] = {
    "script": _S,
    "options": _S,  # of the script, as JSON
    "method": _S,
    "round": _I,
    "place": _I,  # in the order of its round
    "outcome": _S,  # ok | memory
    "seconds": _F,  # of what is compared, start-up left out
    "cpu_seconds": _F,
    "peak_mb": _F,  # above what stood before it
    "tokens": pa.int64(),  # the next four must agree within a round
    "text": _S,
    "checksum": _F,
    "losses": pa.list_(_F),
    "more": _S,  # the rest of what the script printed, as JSON
    "wall_seconds": _F,  # of the whole process
    "load": _F,  # the machine's load average of one minute when the run began
    "day": _S,
    "quick": pa.bool_(),
    "cpu": _S,
    "cores": _I,
    "memory_gb": _F,
    "threads": _I,
    "limit_gb": _F,  # address space a process may have
    "system": _S,
    "python": _S,
    "torch": _S,
    "transformers": _S,
    "peft": _S,
}


def write(rows: Sequence[Row], path: Path) -> None:
    """Write one row per run."""
    table = pa.Table.from_pylist(list(rows), schema=pa.schema(list(COLUMNS.items())))
    with atomic(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read(path: Path) -> list[Row]:
    """Return the rows. Raises DpcError where there is no table or one with other columns."""
    if not path.exists():
        raise DpcError(f"benchmarks: found no {path}; expected the table of runs: run `make bench` first")
    table = pq.read_table(path)
    if table.column_names != list(COLUMNS):
        raise DpcError(f"benchmarks: found columns {table.column_names} in {path}; expected {list(COLUMNS)}")
    rows: list[Row] = table.to_pylist()
    return rows


class Spread(NamedTuple):
    """Median, smallest and largest of so many rounds."""

    median: float
    least: float
    most: float
    rounds: int


def spread(values: Sequence[float]) -> Spread | None:
    """Return the spread, None where there is no value."""
    return Spread(float(np.median(values)), min(values), max(values), len(values)) if values else None


def index(rows: Sequence[Row]) -> Runs:
    """Return the rows of each method for each piece of work."""
    found: Runs = {}
    for row in rows:
        found.setdefault((row["script"], row["options"], row["method"]), []).append(row)
    return found


def by_round(runs: Runs, work: Work, method: str, column: str) -> dict[int, float]:
    """Return a figure by round, of the runs that ended well and have one."""
    rows = runs.get((work.script, work.key, method), [])
    return {row["round"]: row[column] for row in rows if row["outcome"] == "ok" and row[column] is not None}


def middle(runs: Runs, work: Work, method: str, column: str) -> Spread | None:
    """Return a figure's spread over rounds."""
    return spread(list(by_round(runs, work, method, column).values()))


def fits(runs: Runs, work: Work, method: str) -> bool | None:
    """Return whether the method had memory enough in all its runs; None where it was not run."""
    rows = runs.get((work.script, work.key, method), [])
    return all(row["outcome"] == "ok" for row in rows) if rows else None


def ratio(runs: Runs, pair: Pair, column: str) -> Spread | None:
    """Return ours divided by the other's, round by round; None where either has no figure above zero."""
    ours, other = (by_round(runs, pair.work, method, column) for method in (pair.ours, pair.other))
    both = [(ours[i], other[i]) for i in ours if i in other]
    return spread([one / two for one, two in both if one > 0 and two > 0])


def slope(runs: Runs, growth: Growth) -> Spread | None:
    """Return the slope of log seconds over log size, fitted round by round."""
    seconds = [by_round(runs, work, growth.method, "seconds") for work in growth.works]
    rounds = set.intersection(*map(set, seconds))
    sizes = np.log([work.options[growth.option] for work in growth.works])
    return spread([float(np.polyfit(sizes, np.log([by[i] for by in seconds]), 1)[0]) for i in sorted(rounds)])
