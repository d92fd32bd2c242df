"""Every Parquet table: a checked read, an atomic write with provenance in the footer. Columns: `columns.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from dpc.errors import DpcError
from dpc.storage.columns import SCHEMAS as SCHEMAS
from dpc.storage.files import atomic


def arrow_schema(name: str) -> pa.Schema:
    """Return the Arrow schema of table `name`."""
    return pa.schema(list(SCHEMAS[name].items()))


def write(path: Path, name: str, rows: pd.DataFrame, provenance: dict[str, Any]) -> None:
    """Write `rows` as table `name`, atomically, zstd-compressed, with `provenance` as JSON in the footer.

    Raises DpcError if a column is missing or its values do not fit the schema.
    """
    schema = arrow_schema(name)
    missing = [column for column in schema.names if column not in rows.columns]
    if missing:
        raise DpcError(f"table {name}: found no column {', '.join(missing)}; expected {', '.join(schema.names)}")
    try:
        _check_whole_numbers(rows, schema)
        table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowException, OverflowError) as error:
        raise DpcError(f"table {name}: {str(error).splitlines()[0]}") from None
    footer = {b"dpc": json.dumps({"table": name, **provenance}, sort_keys=True, default=str).encode()}
    with atomic(path) as temporary:
        pq.write_table(table.replace_schema_metadata(footer), temporary, compression="zstd")


def _check_whole_numbers(rows: pd.DataFrame, schema: pa.Schema) -> None:
    """Refuse fractions in lists of whole numbers, which Arrow would cut off without a word."""
    for field in schema:
        if pa.types.is_list(field.type) and pa.types.is_integer(field.type.value_type):
            pa.array(rows[field.name], from_pandas=True).cast(field.type, safe=True)


def read(paths: Path | Iterable[Path], name: str) -> pd.DataFrame:
    """Read one file, or several shards one after the other, as table `name`.

    Raises DpcError that names the file if it is missing, not Parquet, cut short, or of another schema.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(p) for p in paths]
    tables = [_read_one(file, name) for file in files]
    return pa.concat_tables(tables).to_pandas() if tables else empty(name)


def rows(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table, columns as attributes."""
    return table.itertuples(index=False)


def empty(name: str) -> pd.DataFrame:
    """Return table `name` without rows."""
    return arrow_schema(name).empty_table().to_pandas()


def provenance(path: Path) -> dict[str, Any]:
    """Return what the footer of the table at `path` says about how it was made."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(b"dpc", b"{}"))


def name_of(path: Path) -> str:
    """Return the name of the table at `path`. Raises DpcError where there is none."""
    try:
        return str(provenance(path)["table"])
    except (pa.ArrowException, OSError, KeyError):
        raise DpcError(f"{path}: no table of this workflow; run the workflow up to there, or delete the file") from None


def _read_one(path: Path, name: str) -> pa.Table:
    rerun = "delete it and run the workflow again"
    if not path.exists():
        raise DpcError(
            f"{path}: no such table; expected {name}, made by an earlier stage: run the workflow up to there"
        )
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DpcError(f"{path}: not a whole Parquet file ({reason}); {rerun}") from None
    schema = arrow_schema(name)
    if table.schema.names != schema.names or table.schema.types != schema.types:
        odd = set(table.schema.names) ^ set(schema.names)
        raise DpcError(f"{path}: not a {name} table (columns differ: {', '.join(sorted(odd)) or 'types'}); {rerun}")
    return table.replace_schema_metadata(None)


def number(value: float | None) -> float | None:
    """Return a number of a table, None for null."""
    return None if value is None or pd.isna(value) else float(value)
