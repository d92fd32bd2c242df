"""Own questions before the first job: what cannot be read or cut, or is too long for a model, is refused by its row."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from dpc.config.settings import Config, load_config
from dpc.errors import DpcError
from dpc.pipeline import check, cost, lengths
from tests.support import config_tree as tree
from tests.support import model_folders
from tests.support.workflow import nested, overlay

SPLITS = {"tuning": 3, "validation": 1, "calibration": 2, "act_select": 2, "act_confirm": 2}


def tokenizer(file: Path) -> None:
    """Write a tokenizer that takes every word for one token."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"unknown": 0}, unk_token="unknown"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(file))


def row(label: str, words: int, answer: str = "#### 5") -> str:
    return json.dumps({"question": " ".join([label, *["x"] * (words - 1)]), "answer": answer})


@pytest.fixture
def study(tmp_path: Path) -> Any:
    """Return what makes the configuration of one's own rows on a model with a context of 200 tokens."""
    model = model_folders.write(tmp_path / "model", max_position_embeddings=200, num_hidden_layers=32)
    tokenizer(model / "tokenizer.json")

    def made(train: list[str], test: list[str], **change: Any) -> Config:
        files = {}
        for name, lines in (("train", train), ("test", test)):
            files[name] = str(tmp_path / f"{name}.jsonl")
            Path(files[name]).write_text("\n".join(lines))
        own = {
            "task": "gsm8k",
            "files": files,
            "template": "Q : {question} A :",
            "max_new_tokens": 90,
            "splits": SPLITS,
        }
        raw = {
            "study": {"models": ["own"], "datasets": ["own"], "results": str(tmp_path / "results")},
            "models": {"own": {"path": str(model)}},
            "datasets": {"own": own},
            "recipes": {"paper": {"vectors": 10}},
        }
        for key, value in change.items():
            raw = overlay(raw, nested(key.replace("__", "."), value))
        return load_config(overlay(tree.config(), raw))

    return made


TRAIN = [row(f"train{number}", 20) for number in range(10)]
TEST = [row(f"test{number}", 20) for number in range(5)]


def test_the_longest_question_decides_to_the_token(study: Any) -> None:
    """10 vectors, 4 words of the template and 90 new tokens leave 96 of 200."""
    check.check(study(TRAIN, [*TEST, row("long", 96)]), set())
    said = (
        r"models\.own: found a context of 200 tokens, expected 201 for test\.jsonl:6 of datasets\.own \(10 vectors, "
        r"the rest question and rationale\); shorten or remove that row, or lower datasets\.own\.max_new_tokens"
    )
    with pytest.raises(DpcError, match=said):
        check.check(study(TRAIN, [*TEST, row("long", 97)]), set())


def test_a_gold_rationale_to_tune_on_counts_with_its_end_mark(study: Any) -> None:
    for words, fits in ((165, True), (166, False)):  # with 10 vectors, 24 words and the end mark 200 and 201
        train = [*TRAIN, *[row(f"long{n}", 20, " ".join(["x"] * (words - 2)) + "\n#### 5") for n in range(40)]]
        config = study(train, TEST, datasets__own__splits__tuning=45)
        if fits:
            check.check(config, set())
        else:
            with pytest.raises(DpcError, match=r"expected 201 for train\.jsonl:\d+ of datasets\.own"):
                check.check(config, set())


def test_gold_that_no_model_reads_does_not_count(study: Any) -> None:
    """Which question goes where depends on the question alone, so a rationale can be made long behind it."""
    train = [row(f"q{number}", 20) for number in range(100)]
    splits = lengths.cut(study(train, TEST), "own").splits
    places = {name: {question.source for question in questions} for name, questions in splits.items()}
    tuned = places["tuning"] | places["validation"] | places["act_select"] | places["act_confirm"]
    for long, fits in (((lambda source: source not in tuned), True), ((lambda source: source in tuned), False)):
        changed = [
            row(f"q{n}", 20, "x " * 200 + "\n#### 5") if long(f"train.jsonl:{n + 1}") else line
            for n, line in enumerate(train)
        ]
        config = study(changed, TEST)
        assert lengths.cut(config, "own").splits.keys() == splits.keys()
        if fits:
            check.check(config, set())
        else:
            with pytest.raises(DpcError, match="found a context of 200 tokens"):
                check.check(config, set())


def test_worked_examples_lengthen_every_question(study: Any) -> None:
    four = {"template": "Q : {question} A :", "shots": 2}
    config = study(TRAIN, TEST, formats__few=four, datasets__own__formats={"own": "few"})
    plain = study(TRAIN, TEST)
    count = lambda text: len(text.split())  # noqa: E731
    names = lengths.used(plain)
    shown, asked = (
        lengths.longest(lengths.cut(made, "own").splits, names, made.format_of("own", "own"), 90, count)[0]
        for made in (config, plain)
    )
    assert shown - asked == 2 * (24 + 1)  # question in its template, and `5`: `:####` is one word here


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (TRAIN, [*TEST, "{not json"], r"test\.jsonl:6: not JSON"),
        ([*TRAIN, row("bad", 5, "five")], TEST, r"train\.jsonl:11: field 'answer' ends in 'five'"),
        (TRAIN, [*TEST, TRAIN[0]], "found 1 training questions that are also test questions"),
        (TRAIN[:5], TEST, "found 5 training questions; expected at least 8"),
        (TRAIN, [""], "found no rows"),
    ],
    ids=["no JSON", "no answer", "overlap", "too few", "empty"],
)
def test_rows_that_a_job_would_refuse_are_refused_before_it(
    study: Any, train: list[str], test: list[str], said: str
) -> None:
    with pytest.raises(DpcError, match=said):
        check.check(study(train, test), set())


def test_a_tokenizer_that_is_none_is_one_line(study: Any, tmp_path: Path) -> None:
    config = study(TRAIN, TEST)
    (tmp_path / "model/tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(DpcError, match=r"model/tokenizer\.json: found no tokenizer \(.*\); expected a whole file"):
        check.check(config, set())


def test_ten_thousand_questions_are_measured_in_seconds(study: Any) -> None:
    config = study([row(f"a{n}", 60) for n in range(8000)], [row(f"b{n}", 60) for n in range(2000)])
    started = time.process_time()
    check.check(config, set())
    assert time.process_time() - started < 5


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_own_test_rows_are_counted_and_not_taken_for_the_benchmarks(study: Any, tmp_path: Path, kind: str) -> None:
    config = study(TRAIN, TEST)
    file = tmp_path / f"own.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join([*TEST, "", *TEST]) + "\n")
    else:
        import pandas as pd

        pd.DataFrame([json.loads(line) for line in [*TEST, *TEST]]).to_parquet(file)
    for train, rows in ((str(tmp_path / "train.jsonl"), 10), (None, 1)):
        own = load_config(
            overlay(config.model_dump(), nested("datasets.own.files", {"train": train, "test": str(file)}))
        )
        assert cost.test_rows(own.datasets["own"]) == rows
    set_by_hand = load_config(overlay(config.model_dump(), nested("datasets.own.splits.test", 3)))
    assert cost.test_rows(set_by_hand.datasets["own"]) == 3
    assert cost.test_rows(config.datasets["gsm8k"]) == 1319


def test_rows_left_for_testing_are_what_the_other_splits_leave(study: Any, tmp_path: Path) -> None:
    config = study([], [row(f"q{n}", 20) for n in range(30)], datasets__own__files__train=None)
    assert cost.test_rows(config.datasets["own"]) == 30 - sum(SPLITS.values())
    assert cost.test_rows(config.datasets["own"]) == len(lengths.cut(config, "own").splits["test"])


@pytest.mark.parametrize("content", [b"PAR1", None], ids=["cut short", "absent"])
def test_rows_that_cannot_be_counted_are_one_line(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(DpcError, match=r"x\.parquet: cannot be read \(.*\); expected rows as"):
        cost.counted_rows(tmp_path / "x.parquet")
