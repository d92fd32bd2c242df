"""Tables: what is written comes back, what does not fit is refused in one line, nothing half-written stays."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.storage import tables
from dpc.storage.files import atomic

IN_ONE_FOLDER = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def questions(count: int, start: int = 0) -> pd.DataFrame:
    names = [f"q{k}" for k in range(start, start + count)]
    return pd.DataFrame(
        {"problem_id": names, "split": "test", "question": "1 + 1?", "prompt_text": "é\n中", "source": "here"}
    )


def regenerations(token_ids: list[list[int]], answers: list[str | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "problem_id": [f"q{k}" for k in range(len(token_ids))],
            "split": "test",
            "edit_id": "base",
            "token_ids": token_ids,
            "text": "t",
            "stop_reason": "end",
            "extracted": answers,
            "extracted_lenient": answers,
            "seconds": 0.25,
            "batch": 0,
        }
    )


def complaint(of: Callable[[], Any]) -> str:
    """What the user is told: one line."""
    with pytest.raises(DpcError) as caught:
        of()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.parquet"


# round trips


def test_what_is_written_comes_back_in_order(path: Path) -> None:
    rows = questions(3).iloc[::-1]
    shuffled = rows.assign(more=1)[["more", *reversed(rows.columns)]]
    tables.write(path, "questions", shuffled, {})
    pd.testing.assert_frame_equal(tables.read(path, "questions"), rows.reset_index(drop=True), check_dtype=False)
    pd.testing.assert_frame_equal(tables.read(str(path), "questions"), tables.read(path, "questions"))


@IN_ONE_FOLDER
@given(
    st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), min_size=1, max_size=4),
    st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5), min_size=4, max_size=4),
)
def test_lists_of_numbers_and_missing_text_come_back(
    path: Path, token_ids: list[list[int]], answers: list[str | None]
) -> None:
    tables.write(path, "regenerations", regenerations(token_ids, answers[: len(token_ids)]), {})
    back = tables.read(path, "regenerations")
    assert [list(ids) for ids in back["token_ids"]] == token_ids
    found = [None if pd.isna(answer) else answer for answer in back["extracted"]]
    assert found == answers[: len(token_ids)]


@IN_ONE_FOLDER
@given(st.lists(st.lists(st.floats(width=32), max_size=6), min_size=1, max_size=3))
def test_lists_of_floats_come_back_to_the_bit(path: Path, values: list[list[float]]) -> None:
    whole = {name: [[]] * len(values) if pa.types.is_list(kind) else 0 for name, kind in schema("saliency").items()}
    rows = pd.DataFrame({**whole, "problem_id": "x", "split": "test", "band": values})
    tables.write(path, "saliency", rows, {})
    for found, wanted in zip(tables.read(path, "saliency")["band"], values, strict=True):
        np.testing.assert_array_equal(found, np.array(wanted, dtype=np.float32))


def schema(name: str) -> dict[str, pa.DataType]:
    return tables.SCHEMAS[name]


def test_missing_numbers_and_truths_come_back_missing(path: Path) -> None:
    row = dict.fromkeys(schema("thresholds"), 0) | {"share": None, "accumulation_z_limit": np.nan, "note": "n"}
    row["flow_profile"] = None
    tables.write(path, "thresholds", pd.DataFrame([row]), {})
    back = tables.read(path, "thresholds").iloc[0]
    assert back[["share", "accumulation_z_limit"]].isna().all()
    assert back["s_ifp_limit"] == 0


@pytest.mark.parametrize("name", list(tables.SCHEMAS))
def test_a_table_without_rows_comes_back(path: Path, name: str) -> None:
    tables.write(path, name, tables.empty(name), {})
    back = tables.read(path, name)
    assert back.empty
    assert list(back.columns) == list(schema(name))
    assert tables.read([], name).columns.equals(back.columns)


def test_shards_come_back_one_after_the_other(tmp_path: Path) -> None:
    shards = [tmp_path / f"{k}.parquet" for k in range(3)]
    for shard, (count, start) in zip(shards, [(2, 4), (0, 0), (1, 1)], strict=True):
        tables.write(shard, "questions", questions(count, start), {"shard": shard.name})
    for given_paths in (shards, iter(shards)):
        found = tables.read(given_paths, "questions")
        assert found["problem_id"].tolist() == ["q4", "q5", "q1"]
        assert found.index.tolist() == [0, 1, 2]
    assert tables.read(shards[::-1], "questions")["problem_id"].tolist() == ["q1", "q4", "q5"]


# provenance


def test_provenance_comes_back(path: Path) -> None:
    about = {
        "stage": "problems",
        "settings": {"splits": {"test": None}, "share": 0.5},
        "host": "é",
        "paths": [1, 2],
    }
    tables.write(path, "questions", questions(1), {**about, "where": Path("a") / "b"})
    assert tables.provenance(path) == {"table": "questions", **about, "where": "a/b"}


def test_a_foreign_file_has_no_provenance(path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), path)
    assert tables.provenance(path) == {}


# refusals


def test_a_missing_column_is_named(path: Path) -> None:
    said = complaint(lambda: tables.write(path, "questions", questions(1).drop(columns=["source", "split"]), {}))
    assert said.startswith("table questions: found no column split, source; expected problem_id, split, question,")
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("batch", "three"),
        ("batch", 1.5),
        ("batch", 2**40),
        ("text", 7),
        ("seconds", "soon"),
        ("token_ids", {"a": 1}),
        ("token_ids", "ab"),
        ("token_ids", [1.5, 2.0]),
        ("token_ids", [2**40]),
        ("batch", 10**20),
    ],
)
def test_a_wrong_type_is_refused_in_one_line(path: Path, column: str, value: object) -> None:
    rows = regenerations([[1]], ["1"]).assign(**{column: [value]})
    said = complaint(lambda: tables.write(path, "regenerations", rows, {}))
    assert said.startswith("table regenerations: ")
    assert list(path.parent.iterdir()) == []


def test_a_missing_file_is_named(path: Path) -> None:
    there = path.with_name("there.parquet")
    tables.write(there, "questions", questions(1), {})
    said = complaint(lambda: tables.read([there, path], "questions"))
    assert said.startswith(f"{path}: no such table; expected questions")


@pytest.mark.parametrize("kept", [0, 1, 3, 100, 0.5, -1, -9])
def test_a_truncated_file_is_named(path: Path, kept: float) -> None:
    tables.write(path, "questions", questions(50), {})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if kept == 0.5 else int(kept)])
    said = complaint(lambda: tables.read(path, "questions"))
    assert said.startswith(f"{path}: not a whole Parquet file (")
    assert said.endswith("; delete it and run the workflow again")


def test_another_table_is_refused(path: Path) -> None:
    tables.write(path, "questions", questions(1), {})
    said = complaint(lambda: tables.read(path, "training"))
    assert said.startswith(f"{path}: not a training table (columns differ: ")
    for column in ("kept", "loss", "source"):
        assert column in said


def test_other_types_and_another_order_are_refused(path: Path) -> None:
    whole = tables.arrow_schema("training").empty_table()
    pq.write_table(whole.set_column(0, "step", pa.array([], pa.int64())), path)
    assert "not a training table (columns differ: types)" in complaint(lambda: tables.read(path, "training"))
    pq.write_table(whole.select(whole.schema.names[::-1]), path)
    complaint(lambda: tables.read(path, "training"))
    pq.write_table(whole, path)
    assert tables.read(path, "training").empty


# whole or absent


class Interrupted(Exception):
    pass


def fail_halfway(target: Path) -> None:
    with atomic(target) as temporary:
        temporary.write_text("half")
        assert not target.exists() or target.read_text() == "before"
        raise Interrupted


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fail_halfway(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("before")
    with pytest.raises(Interrupted):
        fail_halfway(target)
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_text() == "before"


def test_success_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "out"
    for text in ("first", "second"):
        with atomic(target) as temporary:
            assert temporary.parent == target.parent
            temporary.write_text(text)
        assert target.read_text() == text
        assert list(target.parent.iterdir()) == [target]


def test_the_file_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    # a temporary file is private; what a colleague is to read must not stay so
    before = os.umask(0o027)
    try:
        with atomic(tmp_path / "out") as temporary:
            temporary.write_text("x")
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o640
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_failed_write_keeps_the_old_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.write(path, "questions", questions(2), {})

    def half(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tables.pq.ParquetWriter, "write_table", half)
    with pytest.raises(OSError, match="no space left"):
        tables.write(path, "questions", questions(3), {})
    assert len(tables.read(path, "questions")) == 2
    assert list(path.parent.iterdir()) == [path]
