"""Reading rows, cutting splits, and the stage that writes questions and gold."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.config.catalogue import Splits
from dpc.config.slices import ProblemsStage
from dpc.errors import DpcError
from dpc.pipeline.stages import load_problems as problems
from dpc.storage import tables
from dpc.tasks import get_task
from dpc.tasks.base import Problem
from dpc.tasks.dataset import read_splits, short_names
from dpc.tasks.gsm8k import FACTS
from dpc.tasks.rows import parse_rows, read_rows
from dpc.tasks.splits import NAMES, Pool, cut_splits


def pool(label: str, count: int) -> Pool:
    return [(f"{label}:{i}", Problem(f"{label} question {i}?", "#### 1", "1", 1)) for i in range(count)]


def ids(splits: dict[str, Any]) -> dict[str, list[str]]:
    return {name: [question.problem_id for question in split] for name, split in splits.items()}


small, act = st.integers(1, 6), st.integers(0, 4)


NAMES_OF = [
    # files, and what tells each from the others
    (["test.jsonl"], ["test.jsonl"]),
    (["data/train.jsonl", "data/test.jsonl"], ["train.jsonl", "test.jsonl"]),
    (["m/algebra/0.parquet", "m/geometry/0.parquet"], ["algebra/0.parquet", "geometry/0.parquet"]),
    (["a/train/0.parquet", "a/test/0.parquet"], ["train/0.parquet", "test/0.parquet"]),
    (["x/a/0.jsonl", "y/a/0.jsonl", "y/b/0.jsonl"], ["x/a/0.jsonl", "y/a/0.jsonl", "y/b/0.jsonl"]),
    (["x/a/0.jsonl", "x/b/0.jsonl", "x/b/1.jsonl"], ["a/0.jsonl", "b/0.jsonl", "1.jsonl"]),
    (["0.jsonl", "a/0.jsonl"], ["0.jsonl", "a/0.jsonl"]),
    (["/0.jsonl", "/a/0.jsonl"], ["/0.jsonl", "a/0.jsonl"]),
    (["a/0.jsonl", "a/0.jsonl"], ["0.jsonl", "0.jsonl"]),
]


@pytest.mark.parametrize(("files", "names"), NAMES_OF)
def test_files_of_one_name_are_named_by_their_folders(files: list[str], names: list[str]) -> None:
    found = short_names([Path(file) for file in files])
    assert [found[Path(file)] for file in files] == names


def test_the_source_of_a_row_is_one_row(tmp_path: Path) -> None:
    """MATH's seven files have one name, in folders of their own."""
    files = [tmp_path / kind / "test.jsonl" for kind in ("algebra", "geometry", "number_theory")]
    for file in files:
        file.parent.mkdir()
        rows = [{"question": f"{file.parent.name} {number}?", "answer": "#### 1"} for number in range(5)]
        file.write_text("\n".join(map(json.dumps, rows)))
    sizes = Splits(tuning=3, validation=1, calibration=2, act_select=0, act_confirm=0, test=2)
    splits, _ = read_splits("gsm8k", [], files, sizes, "d")
    for question in (question for split in splits.values() for question in split):
        kind, number = question.problem.question.rstrip("?").split()
        assert question.source == f"{kind}/test.jsonl:{int(number) + 1}"
    files[1].write_text(json.dumps({"question": "?", "answer": "seven"}))
    with pytest.raises(DpcError, match=r"geometry/test\.jsonl:1: field 'answer' ends in 'seven'"):
        read_splits("gsm8k", [], files, sizes, "d")


@settings(deadline=None)
@given(
    small, small, small, act, act, st.none() | st.integers(1, 30), st.integers(13, 40), st.integers(0, 20), st.randoms()
)
def test_splits_are_disjoint_full_and_blind_to_order(
    tuning: int,
    validation: int,
    calibration: int,
    select: int,
    confirm: int,
    test: int | None,
    tests: int,
    extra: int,
    rng: random.Random,
) -> None:
    sizes = Splits(
        tuning=tuning, validation=validation, calibration=calibration, act_select=select, act_confirm=confirm, test=test
    )
    own, held_out = pool("train", validation + calibration + select + confirm + 1 + extra), pool("test", tests)
    splits, notes = cut_splits(own, held_out, sizes, "d")
    assert list(splits) == list(NAMES)
    lengths = {name: len(split) for name, split in splits.items()}
    assert lengths == {
        "tuning": min(tuning, 1 + extra),
        "validation": validation,
        "calibration": calibration,
        "act_select": select,
        "act_confirm": confirm,
        "test": tests if test is None else min(test, tests),
    }
    everything = [key for split in ids(splits).values() for key in split]
    assert len(set(everything)) == len(everything)
    assert {question.source.split(":")[0] for question in splits["test"]} == {"test"}
    assert {q.source.split(":")[0] for name in NAMES[:5] for q in splits[name]} == {"train"}
    assert bool(notes) == (lengths["tuning"] < tuning or lengths["test"] < (test or 0))
    rng.shuffle(own)
    rng.shuffle(held_out)
    assert ids(cut_splits(own, held_out, sizes, "d")[0]) == ids(splits)


@settings(deadline=None)
@given(small, small, small, act, st.none() | small, st.integers(0, 10), st.randoms())
def test_splits_from_one_pool(
    tuning: int, validation: int, calibration: int, act: int, test: int | None, extra: int, rng: random.Random
) -> None:
    sizes = Splits(
        tuning=tuning, validation=validation, calibration=calibration, act_select=act, act_confirm=act, test=test
    )
    least = validation + calibration + 2 * act + 1 + (tuning if test is None else test)
    rows = pool("test", least + extra)
    splits, _ = cut_splits([], rows, sizes, "d")
    everything = [key for split in ids(splits).values() for key in split]
    assert len(set(everything)) == len(everything)
    assert (len(splits["validation"]), len(splits["calibration"])) == (validation, calibration)
    assert (len(splits["act_select"]), len(splits["act_confirm"])) == (act, act)
    assert len(splits["tuning"]) == (tuning if test is None else min(tuning, 1 + extra))
    assert len(splits["test"]) == (1 + extra if test is None else test)
    rng.shuffle(rows)
    assert ids(cut_splits([], rows, sizes, "d")[0]) == ids(splits)
    with pytest.raises(DpcError, match=f"found {least - 1} test questions; expected at least {least} "):
        cut_splits([], rows[: least - 1], sizes, "d")


SIZES = Splits(tuning=5, validation=2, calibration=3, act_select=0, act_confirm=0)


def test_more_training_rows_never_move_test() -> None:
    few, many = (cut_splits(pool("train", count), pool("test", 9), SIZES, "d")[0] for count in (6, 60))
    assert ids(few)["test"] == ids(many)["test"]


def test_repeated_questions_count_once() -> None:
    repeated = [("train:9", Problem("  TRAIN   question 0?", "#### 2", "2", 1))]
    splits, notes = cut_splits(pool("train", 9) + repeated, pool("test", 3), SIZES, "d")
    assert "training rows: dropped 1 that repeat an earlier question" in notes
    sources = {question.source for name in NAMES for question in splits[name]}
    assert "train:9" not in sources


def test_overlap_is_refused_or_dropped() -> None:
    shared = [("train:leak", Problem("test  QUESTION 1?", "#### 1", "1", 1))]
    with pytest.raises(DpcError) as error:
        cut_splits(pool("train", 9) + shared, pool("test", 3), SIZES, "d")
    assert str(error.value) == (
        "dataset d: found 1 training questions that are also test questions, such as train:leak;"
        " expected none: correct the files, or write `datasets.d.splits.on_overlap: drop`"
    )
    drop = SIZES.model_copy(update={"on_overlap": "drop"})
    splits, notes = cut_splits(pool("train", 9) + shared, pool("test", 3), drop, "d")
    assert "training rows: dropped 1 that are also test questions" in notes
    assert {name: len(splits[name]) for name in NAMES} == {
        "tuning": 4,
        "validation": 2,
        "calibration": 3,
        "act_select": 0,
        "act_confirm": 0,
        "test": 3,
    }
    assert "train:leak" not in {question.source for name in NAMES for question in splits[name]}


def test_overlap_counts_test_rows_that_are_not_used() -> None:
    one = SIZES.model_copy(update={"test": 1})
    with pytest.raises(DpcError, match="found 3 training questions that are also test questions"):
        cut_splits(pool("train", 9) + pool("test", 3), pool("test", 3), one, "d")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (
            5,
            3,
            "dataset d: found 5 training questions; expected at least 6 (3 for calibration, 2 for validation,"
            " 1 for tuning): lower `datasets.d.splits.calibration` or `datasets.d.splits.validation`",
        ),
        (
            9,
            0,
            "dataset d: found 0 test questions; expected at least 1 (1 for test): give a file with questions",
        ),
        (
            0,
            10,
            "dataset d: found 10 test questions; expected at least 11 (3 for calibration, 2 for validation,"
            " 5 for tuning, 1 for test): lower `datasets.d.splits.calibration`"
            " or `datasets.d.splits.validation` or `datasets.d.splits.tuning`",
        ),
    ],
)
def test_too_few_rows(train: int, test: int, message: str) -> None:
    with pytest.raises(DpcError) as error:
        cut_splits(pool("train", train), pool("test", test), SIZES, "d")
    assert str(error.value) == message


class TestRows:
    def test_sources_and_blank_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('\ufeff{"a": 1}\n\n{"a": 2}\n', encoding="utf-8")
        assert list(read_rows(path)) == [("a.jsonl:1", {"a": 1}), ("a.jsonl:3", {"a": 2})]

    def test_parquet(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        row = {
            "question": "?",
            "options": ["A)1", "B)2", "C)3", "D)4", "E)5"],
            "rationale": "So.",
            "correct": "C",
        }
        pd.DataFrame([row]).to_parquet(path)
        assert list(read_rows(path)) == [("a.parquet:1", row)]
        assert parse_rows(get_task("aqua"), path)[0][1].answer == "C"

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            (
                "a.jsonl",
                None,
                "{path}: no such file; expected rows as .jsonl or .parquet: correct the path in `datasets`",
            ),
            (
                "a.jsonl",
                b"",
                "{path}: found no rows; expected one question per row: fetch or copy the file again",
            ),
            (
                "a.csv",
                b"a",
                "{path}: found suffix '.csv'; expected a .jsonl or .parquet file: convert or rename it",
            ),
            (
                "a.jsonl",
                b'{"a": 1}\n{"a"',
                "{path}:2: not JSON (Expecting ':' delimiter at character 5)",
            ),
            (
                "a.jsonl",
                b"[1]",
                "{path}:1: found a JSON list; expected one JSON object per line: correct the line",
            ),
            ("a.jsonl", b"{}\n\xff\xfe", "{path}:2: cannot be read as UTF-8 text ("),
            ("a.parquet", b"PAR1", "{path}: not a whole Parquet file ("),
        ],
    )
    def test_bad_file(self, tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(DpcError) as error:
            list(read_rows(path))
        assert str(error.value).startswith(message.format(path=path))
        assert "\n" not in str(error.value)

    def test_bad_row_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"question": "?", "answer": "#### 1"}\n{"question": "?"}\n')
        with pytest.raises(DpcError) as error:
            parse_rows(get_task("gsm8k"), path)
        assert str(error.value) == f"{path}:2: no field 'answer'; found question; such a row: {json.dumps(FACTS.row)}"


def stage_settings(**changes: Any) -> ProblemsStage:
    values: dict[str, Any] = {
        "dataset": "toy",
        "task": "gsm8k",
        "generate": None,
        "splits": SIZES,
        "template": "{{Q}}: {question} {question}\nA:",
    }
    return ProblemsStage(**values | changes)


def write_rows(path: Path, count: int, **last: str) -> Path:
    rows = [{"question": f"{path.stem} {{{i}}}?", "answer": f"{i} = {i}\n#### {i}"} for i in range(count)]
    rows[-1].update(last)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outputs(folder: Path) -> dict[str, Any]:
    gold = [folder / "gold" / f"{name}.parquet" for name in NAMES]
    return {"questions": folder / "questions.parquet", "gold": gold}


def test_stage_writes_questions_and_gold(tmp_path: Path) -> None:
    train, test = write_rows(tmp_path / "train.jsonl", 12), write_rows(tmp_path / "test.jsonl", 4)
    out = outputs(tmp_path / "out")
    problems.run(stage_settings(), train=[train], test=[test], **out)
    questions = tables.read(out["questions"], "questions")
    assert questions["split"].value_counts().to_dict() == {
        "tuning": 5,
        "validation": 2,
        "calibration": 3,
        "test": 4,
    }
    row = questions[questions["source"] == "test.jsonl:3"].iloc[0]
    assert row["prompt_text"] == "{{Q}}: test {2}? test {2}?\nA:"
    for path in out["gold"]:
        gold = tables.read(path, "gold")
        wanted = questions[questions["split"] == path.stem]["problem_id"]
        assert list(gold["problem_id"]) == list(wanted)
    answers = tables.read(out["gold"], "gold").set_index("problem_id")
    assert (answers.loc[row["problem_id"], "answer"], answers.loc[row["problem_id"], "steps"]) == ("2", 1)
    footer = tables.provenance(out["questions"])
    assert footer["splits"] == {
        "tuning": 5, "validation": 2, "calibration": 3, "act_select": 0, "act_confirm": 0, "test": 4
    }  # fmt: skip
    assert (footer["stage"], footer["notes"]) == ("load_problems", [])


def test_stage_says_that_all_is_cut_from_test_rows(tmp_path: Path) -> None:
    out = outputs(tmp_path / "out")
    problems.run(stage_settings(), train=[], test=[write_rows(tmp_path / "test.jsonl", 14)], **out)
    footer = tables.provenance(out["questions"])
    assert footer["notes"][-1] == "all splits are cut from the test rows, by hash"
    assert footer["sources"] == {str(tmp_path / "test.jsonl"): {"path": str(tmp_path / "test.jsonl")}}


def test_stage_generates_questions(tmp_path: Path) -> None:
    pytest.importorskip("dpc.tasks.arithmetic")
    sizes = SIZES.model_copy(update={"act_select": 2, "act_confirm": 1, "test": 6})
    changes = {"task": "arithmetic", "generate": 3, "splits": sizes}
    out = outputs(tmp_path)
    problems.run(stage_settings(**changes), train=[], test=[], **out)
    questions = tables.read(out["questions"], "questions")
    assert questions["split"].value_counts().to_dict() == {
        "tuning": 5,
        "validation": 2,
        "calibration": 3,
        "act_select": 2,
        "act_confirm": 1,
        "test": 6,
    }
    assert questions["problem_id"].is_unique


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (
            {"answer": "seven"},
            r"test\.jsonl:4: field 'answer' ends in 'seven'; expected a last line like '#### 72'",
        ),
        (
            {"answer": "mark it with #### 8\n#### 7"},
            r"/test\.jsonl:4: gold answer '7' is not read from its own rationale; expected '####' once,"
            " before the answer: correct or remove the row; such a row: {",
        ),
    ],
)
def test_bad_gold_leaves_nothing(tmp_path: Path, last: dict[str, str], message: str) -> None:
    train = write_rows(tmp_path / "train.jsonl", 12)
    test = write_rows(tmp_path / "test.jsonl", 4, **last)
    with pytest.raises(DpcError, match=message):
        problems.run(stage_settings(), train=[train], test=[test], **outputs(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_stage_without_files(tmp_path: Path) -> None:
    with pytest.raises(DpcError, match=r"write `datasets\.toy\.files\.test`"):
        problems.run(stage_settings(), train=[], test=[], **outputs(tmp_path))


def test_gold_paths_are_checked(tmp_path: Path) -> None:
    out = outputs(tmp_path)
    with pytest.raises(
        DpcError, match="expected one path each named tuning, validation, calibration, act_select, act_confirm, test"
    ):
        problems.run(stage_settings(), train=[], test=[], questions=out["questions"], gold=out["gold"][:3])
