"""What `check` and `estimate` say a study can show, before it runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dpc.analysis.stats.power import planned_detectable
from dpc.config.settings import Config, load_config
from dpc.pipeline import check, estimate, outlook
from tests.support import config_tree as tree
from tests.support import model_folders
from tests.support.workflow import nested, overlay

SETTINGS: list[tuple[str, Any, str]] = [
    ("study.prompt_seeds", [0], "1 prompt seed: no claim can be supported"),
    ("study.prompt_seeds", [0, 1], "2 prompt seeds: intervals over prompts will be very wide"),
    ("datasets.arithmetic.splits.calibration", 20, "arithmetic: 20 calibration questions, and limits of significance "
     "need 30 right ones: they will not be estimable"),
    ("datasets.arithmetic.splits.calibration", 60, "need 30 right answers of 60 calibration questions (50%)"),
    ("execution.device", "cuda", "execution.device is cuda, and this machine has no NVIDIA card"),
]  # fmt: skip


def demo(key: str = "study.name", value: Any = "x") -> Config:
    return load_config(overlay(tree.demo(), nested(key, value)))


@pytest.mark.parametrize(("key", "value", "said"), SETTINGS, ids=[f"{key} {value}" for key, value, _ in SETTINGS])
def test_what_settings_cannot_show_is_said(key: str, value: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlook, "_has_card", lambda: False)
    assert not any(said in line for line in outlook.of_settings(demo()))
    assert sum(said in line for line in outlook.of_settings(demo(key, value))) == 1
    assert said in estimate.table(demo(key, value))


def test_the_gain_that_can_be_seen_is_that_of_the_claims_table() -> None:
    (line,) = outlook.of_settings(demo())
    least = planned_detectable(2000, 3, 2, 0.95)  # two recipes are two cells
    assert line.startswith(
        f"arithmetic: 2,000 test questions x 3 prompt seeds show a gain from {100 * least:.1f} points"
    )
    assert not [line for line in outlook.of_settings(demo("study.prompt_seeds", [0])) if "points" in line]


def rows(folder: Path, model: str, answer: str, long: int, **splits: Any) -> Config:
    """Return a study on rows of which the first `long` test rows have long rationales."""
    model_folders.write(folder / "model")
    for pool, count in (("train", 8), ("test", 6)):
        worked = [answer if pool == "train" or n >= long else "so " * 200 + "\n#### 3" for n in range(count)]
        lines = [json.dumps({"question": f"{pool} {n}?", "answer": text}) for n, text in enumerate(worked)]
        (folder / f"{pool}.jsonl").write_text("\n".join(lines))
    own = {
        "task": "gsm8k", "template": "{question}", "max_new_tokens": 40,
        "files": {pool: str(folder / f"{pool}.jsonl") for pool in ("train", "test")},
        "splits": {"tuning": 50, "validation": 1, "calibration": 1, "act_select": 0, "act_confirm": 0, "test": 20}
        | splits,
    }  # fmt: skip
    study = {"datasets": ["own"], "plans": ["prompt_tuning", "dpc"], "models": ["own"], "results": str(folder / "out")}
    catalogues = {"datasets": {"own": own}, "models": {"own": {"path": str(folder / "model"), "dtype": "float32"}}}
    return load_config(overlay(tree.demo(), {"study": study, **catalogues}))


def test_what_rows_cannot_show_is_said(tmp_path: Path) -> None:
    config = rows(tmp_path, "own", "7", long=2)
    said = "\n".join(outlook.of_rows(config, check.check(config, set())))
    assert "tuning: 6 questions, fewer than the 50 of splits.tuning" in said
    assert "test: 6 questions, fewer than the 20 of splits.test" in said
    assert "own: 7 of 7 gold rationales are an answer without a step" in said
    assert "own: 2 of 7 gold rationales are longer than max_new_tokens, 40, in tokens of own" in said


def test_rows_that_are_as_they_should_be_pass_in_silence(tmp_path: Path) -> None:
    config = rows(tmp_path, "own", "3 + 4 = 7\n#### 7", long=0)
    said = "\n".join(outlook.of_rows(config, check.check(config, set())))
    assert "fewer than" in said
    assert "without a step" not in said
    assert "longer than" not in said
    assert "dropped" not in said


REPEATS: list[tuple[str, list[str], int, list[str]]] = [
    ("train", ["train 0?", "train  0?", "train 1?"], 17, ["training rows: dropped 3 that repeat an earlier question"]),
    ("test", ["test 5?"], 15, ["test rows: dropped 1 that repeat an earlier question"]),
    ("train", ["train 7?", "test 0?", "test 1?"], 17, [
        "training rows: dropped 1 that repeat an earlier question",
        "training rows: dropped 2 that are also test questions",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("pool", "added", "count", "said"), REPEATS, ids=lambda value: str(value)[:20])
def test_rows_that_are_dropped_are_counted_in_one_line(
    pool: str, added: list[str], count: int, said: list[str], tmp_path: Path
) -> None:
    config = rows(tmp_path, "own", "3 + 4 = 7\n#### 7", long=0, on_overlap="drop")
    with (tmp_path / f"{pool}.jsonl").open("a") as file:
        file.writelines("\n" + json.dumps({"question": text, "answer": "#### 1"}) for text in added)
    (line,) = (line for line in outlook.of_rows(config, check.check(config, set())) if "dropped" in line)
    assert line.startswith(f"own: {count} rows, 14 of them in a split; {'; '.join(said)}; tuning: 6 questions, fewer")


def test_rows_beyond_the_splits_are_counted(tmp_path: Path) -> None:
    config = rows(tmp_path, "own", "3 + 4 = 7\n#### 7", long=0, tuning=3, test=4)
    assert outlook.of_rows(config, check.check(config, set())) == ["own: 14 rows, 9 of them in a split"]


@pytest.mark.parametrize(
    ("hours", "said"), [(0.001, "4 s"), (0.2, "12 min"), (3.42, "3.4 h"), (1250.4, "1,250 h"), (0.0, "0 s")]
)
def test_times_are_said_as_people_say_them(hours: float, said: str) -> None:
    assert estimate.duration(hours) == said


def test_the_estimate_names_the_memory_of_every_rule() -> None:
    text = estimate.table(demo())
    assert "4.0 GB" in text
    assert all(f"{rule} " in text for rule in (*estimate.cpu_memory_gb(demo()), *estimate.lines(demo())))


def test_a_guessed_depth_is_said(tmp_path: Path) -> None:
    said = "Layers, and as many heads, guessed from parameters"
    assert said not in estimate.table(demo())
    assert said not in estimate.table(rows(tmp_path, "own", "7", long=0))
    (line,) = (line for line in estimate.table(load_config(tree.config())).splitlines() if said in line)
    assert line.endswith("(llama2-13b 40, llama3-8b 34, mistral-7b 33)")
