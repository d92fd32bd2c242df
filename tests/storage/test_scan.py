"""Tables read row by row: the same rows as a whole read, in a memory that does not grow with the table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpc.errors import DpcError
from dpc.storage import tables
from tests.support.paths import ROOT

LENGTH, COUNT = 2500, 3600
"""Floats in a row, and rows of a shard: 36 MB."""


def frame(first: int, count: int) -> pd.DataFrame:
    """Rows of table `exemplars`; every third has no role."""
    keys = range(first, first + count)
    return pd.DataFrame({
        "problem_id": [f"q{k}" for k in keys], "role": [None if k % 3 == 0 else "right" for k in keys],
        "layer": list(keys), "size": 100, "vectors": 2, "question_tokens": 3, "prompt_start": 1,
        "tokens": [["a"] * (k % 3) for k in keys],
        "saliency": [np.full(LENGTH if k % 50 else 0, k, dtype=np.float32) for k in keys],
    })  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One shard written whole, one in pieces."""
    folder = tmp_path_factory.mktemp("shards")
    tables.write(folder / "whole", "exemplars", frame(0, COUNT), {})
    tables.write(
        folder / "pieces", "exemplars", (frame(COUNT + 20 * k, 20) for k in range(COUNT // 20)), {"stage": "s"}
    )
    return [folder / "whole", folder / "pieces"]


def test_a_scan_yields_what_a_read_holds(shards: list[Path]) -> None:
    scanned = pd.DataFrame(tables.scan(shards, "exemplars"))
    pd.testing.assert_frame_equal(scanned, tables.read(shards, "exemplars"), check_dtype=False)
    assert scanned["layer"].tolist() == list(range(2 * COUNT))
    assert list(tables.scan([], "exemplars")) == []


def test_pieces_and_footers_are_those_of_one_table(shards: list[Path]) -> None:
    pd.testing.assert_frame_equal(tables.read(shards[1], "exemplars"), frame(COUNT, COUNT), check_dtype=False)
    assert tables.provenance(shards[1]) == {"table": "exemplars", "stage": "s"}


def test_columns_are_read_alone_and_in_the_order_asked_for(shards: list[Path]) -> None:
    found = tables.read(shards, "exemplars", ["layer", "problem_id"])
    pd.testing.assert_frame_equal(found, tables.read(shards, "exemplars")[["layer", "problem_id"]])
    assert list(tables.read([], "exemplars", ["layer"])) == ["layer"]


@pytest.mark.parametrize("bad", ["missing", "cut", "other"])
def test_a_scan_refuses_what_a_read_refuses(bad: str, shards: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "table"
    if bad == "cut":
        path.write_bytes(shards[0].read_bytes()[:-100])
    if bad == "other":
        tables.write(path, "chosen", pd.DataFrame({"problem_id": ["a"], "role": ["right"]}), {})
    said = []
    for act in (lambda: list(tables.scan(path, "exemplars")), lambda: tables.read(path, "exemplars")):
        with pytest.raises(DpcError, match=str(path)) as refused:
            act()
        said.append(str(refused.value))
    assert said[0] == said[1]


MOST = """import sys
from pathlib import Path
import pyarrow as pa
from dpc.storage import tables
rows = tables.scan if sys.argv[1] == "scan" else lambda *given: tables.rows(tables.read(*given))
print(sum(row.layer for row in rows(Path(sys.argv[2]), "exemplars")), pa.default_memory_pool().max_memory())"""


def most_bytes(how: str, path: Path) -> int:
    """The most memory that a process of its own held for columns."""
    line = [sys.executable, "-c", MOST, how, str(path)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    total, most = map(int, done.stdout.split())
    assert total == sum(range(COUNT)) + (COUNT * COUNT if path.name == "pieces" else 0)
    return most


@pytest.mark.parametrize("which", [0, 1])
def test_a_scan_holds_a_few_rows(which: int, shards: list[Path]) -> None:
    table = COUNT * LENGTH * 4
    assert most_bytes("read", shards[which]) > 0.9 * table  # the measure sees what is held
    assert most_bytes("scan", shards[which]) < table / 3
