"""Rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dpc.config.messages import first_line
from dpc.errors import DpcError
from dpc.tasks.fields import Row


def read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a Parquet file with their numbers, from 1.

    A value that Python cannot hold is the error that it raises. Raises DpcError where the file is not whole.
    """
    try:
        # not pq.read_table, which makes columns of folders named `key=value`
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
            names = table.column_names
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = first_line(error)
        raise DpcError(f"{path}: not a whole Parquet file ({reason}); fetch or copy the file again") from None
    if len(set(names)) < len(names):
        twice = max(names, key=names.count)
        raise DpcError(f"{path}: found two columns {twice!a}; expected one of each name: rename or drop one")
    columns = [_values(column) for column in table.columns]
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        yield number, dict(zip(names, values, strict=True))


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        return column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):
        return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        return error
