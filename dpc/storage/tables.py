"""Every Parquet table: a checked read, an atomic write with provenance in the footer. Columns: docs/results.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dpc.config.messages import first_line
from dpc.errors import DpcError
from dpc.storage.columns import SCHEMAS as SCHEMAS
from dpc.storage.files import atomic

SCANNED_ROWS, READ_BYTES = 128, 1 << 20
"""What `scan` holds: rows of a table, and bytes of each column's file."""


def arrow_schema(name: str) -> pa.Schema:
    """Return the Arrow schema of table `name`."""
    return pa.schema(list(SCHEMAS[name].items()))


def write(path: Path, name: str, rows: pd.DataFrame | Iterable[pd.DataFrame], provenance: dict[str, Any]) -> None:
    """Write `rows` as table `name`, atomically, zstd-compressed, with `provenance` as JSON in the footer.

    Rows that come in several frames are written as they come. Raises DpcError if a column is missing or its values do
    not fit the schema.
    """
    footer = {b"dpc": json.dumps({"table": name, **provenance}, sort_keys=True, default=str).encode()}
    schema = arrow_schema(name).with_metadata(footer)
    with atomic(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for frame in [rows] if isinstance(rows, pd.DataFrame) else rows:
            writer.write_table(_as_arrow(frame, name).replace_schema_metadata(footer))


def _as_arrow(rows: pd.DataFrame, name: str) -> pa.Table:
    schema = arrow_schema(name)
    missing = [column for column in schema.names if column not in rows.columns]
    if missing:
        raise DpcError(f"table {name}: found no column {', '.join(missing)}; expected {', '.join(schema.names)}")
    try:
        _check_whole_numbers(rows, schema)
        return pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowException, OverflowError) as error:
        raise DpcError(f"table {name}: {first_line(error)}") from None


def _check_whole_numbers(rows: pd.DataFrame, schema: pa.Schema) -> None:
    """Refuse fractions in lists of whole numbers, which Arrow would cut off without a word."""
    for field in schema:
        if pa.types.is_list(field.type) and pa.types.is_integer(field.type.value_type):
            pa.array(rows[field.name], from_pandas=True).cast(field.type, safe=True)


def read(paths: Path | Iterable[Path], name: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read one file, or several shards one after the other, as table `name`; all columns, or those named.

    Raises DpcError that names the file if it is missing, not Parquet, cut short, or of another schema.
    """
    wanted = list(columns or arrow_schema(name).names)
    parts: list[pa.Table] = []
    for file in _files(paths):
        with _opened(file, name) as parquet:
            parts.append(parquet.read(wanted).replace_schema_metadata(None))
    return pa.concat_tables(parts).to_pandas() if parts else empty(name)[wanted]


def scan(paths: Path | Iterable[Path], name: str) -> Iterator[Any]:
    """Yield the rows of a table, columns as attributes, holding a few rows of it in memory at a time.

    Raises as `read` does, for a file that is cut short when it comes to that.
    """
    for file in _files(paths):
        with _opened(file, name) as parquet:
            for batch in parquet.iter_batches(SCANNED_ROWS):
                yield from rows(batch.to_pandas())


def _files(paths: Path | Iterable[Path]) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table, columns as attributes."""
    return table.itertuples(index=False)


def empty(name: str) -> pd.DataFrame:
    """Return table `name` without rows."""
    return arrow_schema(name).empty_table().to_pandas()


def provenance(path: Path) -> dict[str, Any]:
    """Return what the footer of the table at `path` says about how it was made. Raises DpcError for a broken file."""
    with _whole(path):
        metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(b"dpc", b"{}"))


def peak_gb(path: Path) -> float:
    """Return the peak of memory, in GB, of the job that wrote the table at `path`."""
    return float(provenance(path)["peak_gb"])


def name_of(path: Path) -> str:
    """Return the name of the table at `path`. Raises DpcError where there is none."""
    try:
        return str(provenance(path)["table"])
    except (DpcError, KeyError):
        raise DpcError(f"{path}: no table of this workflow; run the workflow up to there, or delete the file") from None


RERUN = "delete it and run the workflow again"


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Say in one line that a file is no whole Parquet file."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DpcError(f"{path}: not a whole Parquet file ({first_line(error)}); {RERUN}") from None


@contextmanager
def _opened(path: Path, name: str) -> Iterator[pq.ParquetFile]:
    """Open a file as table `name`; what goes wrong while it is read is said in one line."""
    if not path.exists():
        raise DpcError(
            f"{path}: no such table; expected {name}, made by an earlier stage: run the workflow up to there"
        )
    # a few pages of each column at a time: whole column chunks of saliency are gigabytes
    with _whole(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_BYTES) as parquet:
        found, schema = parquet.schema_arrow, arrow_schema(name)
        if found.names != schema.names or found.types != schema.types:
            odd = ", ".join(sorted(set(found.names) ^ set(schema.names))) or "types"
            raise DpcError(f"{path}: not a {name} table (columns differ: {odd}); {RERUN}")
        yield parquet


def number(value: float | None) -> float | None:
    """Return a number of a table, None for null."""
    return None if value is None or pd.isna(value) else float(value)
