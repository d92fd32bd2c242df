"""What `load_problems` would refuse, the check refuses first: gold answers, files of the hub, worked examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.config.catalogue import Format
from dpc.pipeline import lengths
from dpc.tasks.base import Problem
from dpc.tasks.splits import Question
from tests.support import config_tree as tree
from tests.support import fuzzing
from tests.support.fuzz_rows import CONFIGURATIONS, POOLS, SPLITS, good
from tests.support.workflow import nested, overlay


def study(folder: Path, task: str, change: dict[str, Any] | None = None, **last: Any) -> dict[str, Any]:
    """Return the configuration of rows of one's own, the last test row of which has the fields `last`."""
    files = {}
    for pool, count in POOLS.items():
        rows = [good(task, pool, number) for number in range(count)]
        if pool == "test":
            rows[-1] |= last
        files[pool] = str(folder / f"{pool}.jsonl")
        Path(files[pool]).write_text("\n".join(json.dumps(row) for row in rows))
    own = {"task": task, "files": files, "template": "Q : {question} A :", "splits": SPLITS}
    names = {"models": ["builtin"], "datasets": ["own"], "recipes": ["well_tuned"], "results": str(folder / "results")}
    return overlay(overlay(tree.demo(), {"study": names, "datasets": {"own": own}}), change or {})


NOT_READ = "gold answer {!r} is not read from its own rationale; expected '####' once, before the answer{}: "
ADDED = " (there the workflow adds it)"
ALONE = "behind '####'; expected one number and nothing else: write '#### {}', if that is the answer"
GOLD = [
    (
        "gsm8k",
        {"answer": "The answer is 7"},
        "field 'answer' ends in 'The answer is 7'; expected a last line like '#### 72'",
    ),
    ("gsm8k", {"answer": "so 7\n####"}, "field 'answer' ends in 'so 7\\n####'; expected a last line like '#### 72'"),
    ("gsm8k", {"answer": "### 7"}, "field 'answer' ends in '### 7'; expected a last line like '#### 72'"),
    ("gsm8k", {"answer": True}, "field 'answer' is true; expected text, such as"),
    ("gsm8k", {"answer": "#### 8\n#### 7"}, NOT_READ.format("7", "")),
    ("gsm8k", {"answer": "#### 7\n#### 7"}, NOT_READ.format("7", "")),
    ("gsm8k", {"answer": "#### Step 1\n3 + 4\n#### 7"}, NOT_READ.format("7", "")),
    ("gsm8k", {"answer": "######## 7"}, NOT_READ.format("7", "")),
    ("gsm8k", {"answer": "#### 7 or 8"}, "field 'answer' ends in '#### 7 or 8'; expected a last line like '#### 72'"),
    ("gsm8k", {"answer": "#### 1,5"}, "field 'answer' ends in '#### 1,5'; expected a last line like '#### 72'"),
    ("gsm8k", {"answer": "#### 18 pens"}, "field 'answer' has '18 pens' " + ALONE.format(18)),
    ("gsm8k", {"answer": "#### 7/0"}, "field 'answer' has '7/0' " + ALONE.format("7/0")),
    ("aqua", {"rationale": "so\n#### C"}, NOT_READ.format("E", ADDED)),
    ("aqua", {"rationale": "#### E"}, NOT_READ.format("E", ADDED)),
    ("aqua", {"rationale": "#### Step 1\nE"}, NOT_READ.format("E", ADDED)),
    ("aqua", {"rationale": "a ##### b"}, NOT_READ.format("E", ADDED)),
    (
        "math",
        {"solution": "It is 2."},
        "field 'solution' ends in 'It is 2.' and boxes no answer; expected '\\boxed{…}'",
    ),
    ("math", {"solution": "#### 2"}, "field 'solution' ends in '#### 2' and boxes no answer; expected '\\boxed"),
]
TAKEN = [
    ("gsm8k", {"answer": "#### 7"}, "7"),
    ("gsm8k", {"answer": "7"}, "7"),
    ("gsm8k", {"answer": " $1,080 "}, "1080"),
    ("gsm8k", {"answer": 72}, "72"),
    ("gsm8k", {"answer": -0.5}, "-0.5"),
    ("gsm8k", {"answer": "3 + 4 = <<3+4=7>>7\n####7"}, "7"),
    ("gsm8k", {"answer": "#### -1,080"}, "-1080"),
    ("gsm8k", {"answer": "#### $7.50"}, "7.50"),
    ("gsm8k", {"answer": "#### 50%."}, "50"),
    ("gsm8k", {"answer": "#### 7/2"}, "7/2"),
    ("aqua", {"rationale": "#1 is out, ### too"}, "E"),
    ("aqua", {"correct": " A\n"}, "A"),
    ("math", {"solution": r"\boxed{1}, so \boxed{2}."}, "2"),
    ("math", {"solution": "\\boxed{1}\n#### 2 #### 3"}, "1"),
]


@pytest.mark.parametrize(("task", "last", "said"), GOLD, ids=str)
def test_gold_that_the_first_job_refuses_is_refused_by_row(
    task: str, last: dict[str, Any], said: str, tmp_path: Path
) -> None:
    raw = study(tmp_path, task, **last)
    line = fuzzing.refusal(raw)
    assert line is not None
    assert line.startswith(f"{tmp_path}/test.jsonl:5: {said}")
    assert fuzzing.load(raw, "own", tmp_path) == line


@pytest.mark.parametrize(("task", "last", "answer"), TAKEN, ids=str)
def test_gold_that_is_read_as_it_stands_passes(task: str, last: dict[str, Any], answer: str, tmp_path: Path) -> None:
    raw = study(tmp_path, task, **last)
    assert fuzzing.refusal(raw) is None
    loaded = fuzzing.load(raw, "own", tmp_path)
    assert not isinstance(loaded, str)
    assert list(loaded[loaded["source"] == "test.jsonl:5"]["answer"]) == [answer]


@pytest.mark.parametrize(("key", "value", "place"), CONFIGURATIONS, ids=str)
def test_a_datasets_own_keys_are_taken_or_refused_by_name(key: str, value: Any, place: str, tmp_path: Path) -> None:
    change = {"formats": {"many": {"shots": 4}}, **nested(f"datasets.own.{key}", value)}
    line = fuzzing.refusal(study(tmp_path, "gsm8k", change))
    assert (line is None) == (not place)
    assert place in (line or "")


# Files of the hub, once they are here.

HUB = {"id": "a/b", "revision": "main", "train": ["x/rows.parquet", "y/rows.parquet"], "test": ["x/test.jsonl"]}


def on_hub(folder: Path, monkeypatch: pytest.MonkeyPatch, **last: Any) -> dict[str, Any]:
    """Return a configuration whose rows lie where the fetch rule lays them; those in y/rows.parquet have `last`."""
    monkeypatch.chdir(folder)
    rows = [good("gsm8k", "train", number) for number in range(14)]
    for name, part in (("x/rows.parquet", rows[:7]), ("y/rows.parquet", [row | last for row in rows[7:]])):
        file = lengths.DATASETS / "hubs" / name
        file.parent.mkdir(parents=True)
        pd.DataFrame(part).to_parquet(file)
    test = json.dumps(good("gsm8k", "test", 0))
    (lengths.DATASETS / "hubs/x/test.jsonl").write_text(test)
    hubs = {"task": "gsm8k", "hub": HUB, "template": "Q : {question} A :", "splits": SPLITS}
    return study(folder, "gsm8k", {"study": {"datasets": ["hubs"]}, "datasets": {"hubs": hubs}})


def test_rows_of_the_hub_that_are_here_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of its files may have one name, in folders of their own."""
    assert fuzzing.refusal(on_hub(tmp_path, monkeypatch)) is None
    for place in lengths.DATASETS.rglob("*.parquet"):
        place.unlink()
    (lengths.DATASETS / "hubs/x").rename(tmp_path / "x")
    (lengths.DATASETS / "hubs/y").rename(tmp_path / "y")
    line = fuzzing.refusal(on_hub(tmp_path, monkeypatch, answer="#### 8\n#### 7"))
    assert line is not None
    assert line.startswith("resources/datasets/hubs/y/rows.parquet:")
    assert "is not read from its own rationale" in line


@pytest.mark.parametrize("name", ["x/rows.csv", "x/rows.jsonl.gz", "x/rows"])
def test_files_of_the_hub_that_no_job_reads_are_refused_before_they_are_fetched(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = overlay(on_hub(tmp_path, monkeypatch), nested("datasets.hubs.hub.test", [name]))
    line = fuzzing.refusal(raw)
    assert line is not None
    assert line.startswith(f"resources/datasets/hubs/{name}: found suffix ")


# Worked examples, and lengths.


@pytest.mark.parametrize(("shots", "refused"), [(3, False), (4, True), (9, True)])
def test_worked_examples_leave_questions_to_tune_on(shots: int, refused: bool, tmp_path: Path) -> None:
    few = {"datasets": {"own": {"formats": {"builtin": "few"}}}, "formats": {"few": {"shots": shots}}}
    line = fuzzing.refusal(study(tmp_path, "gsm8k", few))
    said = (
        f"datasets.own: found 4 tuning questions, expected more than the {shots} worked examples of formats.few; lower "
        "formats.few.shots, or give more questions"
    )
    assert line == (said if refused else None)


def test_a_short_text_of_many_tokens_is_not_missed_behind_long_ones_of_few() -> None:
    """Bytes bound tokens: beyond the longest texts those are measured that may not fit, and no others."""
    texts = ["long " * 200] * 60 + ["÷" * 300, "short"]
    rows = [Question(str(n), f"rows:{n}", Problem(text, "#### 1", "1", 1)) for n, text in enumerate(texts, start=1)]
    splits, form = {"tuning": [], "test": rows}, Format()
    measured: list[str] = []

    def count(text: str) -> int:
        measured.append(text)
        return 2 * text.count("÷") or len(text.split())

    assert lengths.longest(splits, ["test"], form, 1, count, room=500) == (601, "rows:61")
    assert len(measured) == 61
    lengths.longest(splits, ["test"], form, 1, count, room=5000)
    assert len(measured) == 61 + lengths.TRIED
