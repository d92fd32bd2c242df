"""`python -m dpc answer` beside the study that it answers for; rows that are no questions; stops."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.config.messages import did_you_mean
from dpc.pipeline.answering import work
from dpc.pipeline.generation import _Watch
from dpc.plans.declaration import PLANS, of
from dpc.storage import tables
from dpc.tasks import get_task
from dpc.tasks.asked import read_questions
from tests.support import answered
from tests.support.paths import ROOT
from tests.support.workflow import SMALLEST, Workflow, overlay

pytestmark = pytest.mark.long
ANSWERING = [name for name in of("test") if PLANS[name].answers != "options"]
CHANGED = {
    "trigger": {"share": 0.15},
    "datasets": {"arithmetic": {"splits": {"test": 50}}},
    "study": {"oracles": [], "plans": ANSWERING},
    "recipes": {"well_tuned": {"learning_rate": 0.3, "vectors": 8}},
    "locate": {"masked_vectors": 2},
}
"""DPC fires on some questions, and not on all; not all locate the same vectors."""


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workflow = Workflow(tmp_path_factory.mktemp("answering"), overlay(SMALLEST, CHANGED))
    workflow.run("evaluation")
    return next(workflow.folder.glob("results/*/*/*/seed0"))


@pytest.fixture(scope="module")
def mine(cell: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return answered.ask(cell, tmp_path_factory.mktemp("asked"), 50)


def logged(log: Path) -> dict[str, int]:
    """Return how many questions each step's last line of progress counts."""
    found = re.findall(r"INFO ([a-z ]+): 100%.*?(\d+)/(\d+) ", log.read_text())
    return {name: int(done) for name, done, _ in found}


def test_every_plan_answers_held_questions_as_the_study_did(cell: Path, mine: Path, tmp_path: Path) -> None:
    out, plans = tmp_path / "answers.jsonl", ANSWERING
    assert answered.answer(cell, mine, out, *plans) == 0
    assert len(answered.lines(out)) == 50 * len(plans)
    assert answered.differences(cell, out) == []
    fired = [line["fired"] for line in answered.lines(out) if line["plan"] == "dpc"]
    assert 0 < sum(fired) < 50
    assert len({tuple(line["masked"]) for line in answered.lines(out) if line["plan"] == "always"}) > 1
    assert [file.name for file in tmp_path.iterdir()] == ["answers.jsonl"]


def test_the_trigger_is_measured_for_all_and_a_vector_located_where_it_fires(
    cell: Path, mine: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "answers.jsonl", tmp_path / "answer.log"
    assert answered.answer(cell, mine, out, more=(f"--log={log}",)) == 0
    fired = sum(line["fired"] for line in answered.lines(out))
    assert logged(log) == {"generate base": 50, "trigger": 50, "location": fired, "regenerate": fired}


@pytest.mark.parametrize(
    ("plan", "steps"),
    [
        ("no_prompt", {"generate unprompted"}),
        ("prompt_tuning", {"generate base"}),
        ("always", {"generate base", "location", "regenerate"}),
        ("dpc", {"generate base", "trigger", "location", "regenerate"}),
    ],
)
def test_a_plan_costs_no_more_than_what_it_looks_at(
    plan: str, steps: set[str], cell: Path, mine: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "answers.jsonl", tmp_path / "answer.log"
    assert answered.answer(cell, mine, out, plan, more=(f"--log={log}",)) == 0
    assert set(logged(log)) == steps
    assert answered.differences(cell, out) == []


FITTED = {"accumulation_z_limit": 1.1, "flow_constant": 1.0, "flow_profile": [1 + 0.1 * part for part in range(20)]}
"""What a study of this size has too few right cases to fit."""
TRIGGERS: dict[str, dict[str, str | float]] = {
    "accumulation decides as well": {"rule": "share_and_accumulation"},
    "steps": {"granularity": "step", "kappa": 0.5},
    "a flow without its trend": {"baseline": "detrend", "kappa": 0.5},
}


@pytest.mark.parametrize("case", TRIGGERS)
def test_plans_are_those_of_the_whole_saliency(case: str, cell: Path, mine: Path, tmp_path: Path) -> None:
    """Whatever the trigger is, what is measured for it decides as everything that could be measured does."""
    from dpc.config.slices import PlanStage
    from dpc.pipeline.stages import plan as plan_stage

    copy = tmp_path / "results/builtin/arithmetic/well_tuned/seed0"
    copied(cell, copy)
    fitted = tables.read(cell / "thresholds.parquet", "thresholds").iloc[0].to_dict() | FITTED
    about = tables.provenance(cell / "thresholds.parquet")
    tables.write(copy / "thresholds.parquet", "thresholds", pd.DataFrame([fitted]), about)
    settings = tables.provenance(cell / "plans/test.parquet")["settings"]
    settings["trigger"] |= TRIGGERS[case]
    told = PlanStage.model_validate(settings)
    plan_stage.run(
        told,
        flow=copy / "flow.parquet",
        thresholds=copy / "thresholds.parquet",
        act_heads=copy / "act/heads.parquet",
        out=copy / "plans/test.parquet",
    )
    model = f"--model={cell.parents[3]}/models/builtin"
    wanted = tables.read(copy / "plans/test.parquet", "plans").set_index(["problem_id", "plan"])
    assert 0 < wanted.xs("dpc", level="plan")["fired"].sum() < 50
    for plans in (["dpc", "random_token"], ["random_trigger"]):
        out = tmp_path / f"{plans[0]}.jsonl"
        assert answered.answer(copy, mine, out, *plans, more=(model,)) == 0
        for line in answered.lines(out):
            row = wanted.loc[(line["problem_id"], line["plan"])]
            assert (line["fired"], line["masked"]) == (bool(row["fired"]), list(row["masked"]))


def copied(cell: Path, target: Path) -> None:
    """Copy a cell and its questions."""
    import shutil

    shutil.copytree(cell, target)
    shutil.copytree(cell.parents[3] / "problems", target.parents[3] / "problems")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("beat", [3, 30])
def test_a_stopped_run_goes_on_to_the_same_bytes(
    number: signal.Signals,
    beat: int,
    cell: Path,
    mine: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, again = tmp_path / "whole.jsonl", tmp_path / "again.jsonl"
    assert answered.answer(cell, mine, whole) == 0
    original, beats = _Watch.beat, list[int]()

    def counted(self: _Watch, *seen: object) -> None:
        beats.append(1)
        if len(beats) == beat:
            os.kill(os.getpid(), number)
        original(self, *seen)  # type: ignore[arg-type]

    monkeypatch.setattr(_Watch, "beat", counted)
    assert answered.answer(cell, mine, again) == 1
    assert f"error: stopped by {number.name}" in capsys.readouterr().err
    assert not again.exists()
    assert answered.answer(cell, mine, again) == 0
    assert again.read_bytes() == whole.read_bytes()


def test_a_stop_while_the_trigger_is_measured_loses_no_answer(
    cell: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from dpc.lm.saliency import packed

    whole, again, calls = tmp_path / "whole.jsonl", tmp_path / "again.jsonl", list[int]()
    original = packed.measure

    def killed(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(packed, "measure", killed)
        assert answered.answer(cell, mine, again) == 1
    assert calls
    assert "error: stopped by SIGTERM" in capsys.readouterr().err
    made = tables.read(tmp_path / "again.jsonl.work" / "base.parquet", "generations")
    assert len(made) == 50
    assert [answered.answer(cell, mine, out) for out in (again, whole)] == [0, 0]
    assert again.read_bytes() == whole.read_bytes()


def test_what_is_left_of_other_questions_is_not_taken(
    cell: Path, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "answers.jsonl"
    monkeypatch.setattr(work.Work, "remove", lambda self: None)
    assert answered.answer(cell, mine, out, "prompt_tuning") == 0
    few = tmp_path / "few.jsonl"
    few.write_text("".join(mine.read_text().splitlines(keepends=True)[7:9]))
    assert answered.answer(cell, few, out, "prompt_tuning", "dpc") == 0
    assert [line["source"] for line in answered.lines(out)] == [f"few.jsonl:{n}" for n in (1, 1, 2, 2)]
    assert answered.differences(cell, out) == []


def test_questions_may_be_lines_of_a_text_and_stand_there_twice(cell: Path, mine: Path, tmp_path: Path) -> None:
    asked = [json.loads(line)["question"] for line in mine.read_text().splitlines()[:2]]
    text, out = tmp_path / "mine.txt", tmp_path / "answers.jsonl"
    text.write_text("\n".join([asked[0], "", asked[1], asked[0]]) + "\n")
    assert answered.answer(cell, text, out) == 0
    found = answered.lines(out)
    assert [line["source"] for line in found[::2]] == ["mine.txt:1", "mine.txt:3", "mine.txt:4"]
    assert found[0]["rationale"] == found[4]["rationale"]
    assert answered.differences(cell, out) == []


REFUSED = {
    "bad rows": ('{"q": 1}\n{"question": ""}\n', (), ":1: no field 'question'; found q (and so are mine.jsonl:2)"),
    "no JSON": ("a\n", (), "mine.jsonl:1: not JSON"),
    "no row": ("\n", (), "found no rows"),
    "a long one": (json.dumps({"question": "Tom has 10 . " * 90}), (), "mine.jsonl:1: prompt (8) + question"),
    "an oracle": ('{"question": "a"}\n', ("oracle_trigger",), "plan oracle_trigger looks at gold"),
    "candidates": ('{"question": "a"}\n', ("static_candidates",), "serves to fit thresholds on calibration"),
    "a misspelt plan": ('{"question": "a"}\n', ("dcp",), f"unknown plan 'dcp'{did_you_mean('dcp', ['dpc'])}"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_answered_is_refused_before_the_work(
    case: str, cell: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, plans, said = REFUSED[case]
    questions, out = tmp_path / "mine.jsonl", tmp_path / "answers.jsonl"
    questions.write_text(text)
    assert answered.answer(cell, questions, out, *plans) == 1
    (error,) = [line for line in capsys.readouterr().err.splitlines() if " ERROR " in line]
    assert said in error
    assert not out.exists()


FLAGS = {
    "another suffix": ("--out=answers.csv", "expected .jsonl"),
    "no cell": ("--cell=results", "expected a finished cell"),
    "no model": ("--model=nowhere", "nowhere: found no such model folder; write --model FOLDER"),
    "a device": ("--device=gpu", "found --device gpu --threads 1; expected auto, cuda or cpu"),
    "no threads": ("--threads=0", "--threads 0; expected auto, cuda or cpu, and a number from 1"),
    "no questions": ("--questions=none.jsonl", "none.jsonl: no such file; expected questions as .jsonl"),
}  # fmt: skip


@pytest.mark.parametrize("case", FLAGS)
def test_wrong_flags_are_named(
    case: str, cell: Path, mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flag, said = FLAGS[case]
    assert answered.answer(cell, mine, tmp_path / "answers.jsonl", more=(flag,)) == 1
    assert said in capsys.readouterr().err


ROWS = {
    "gsm8k": ({"question": "How many?"}, "How many?"),
    "aqua": ({"question": "What?", "options": ["A)1", "B)2", "C)3", "D)4", "E)5"]}, "What?\nA)1\nB)2\nC)3\nD)4\nE)5"),
    "math": ({"problem": "What is $1$?"}, "What is $1$?"),
    "arithmetic": ({"question": "Tom has 1 pen ."}, "Tom has 1 pen ."),
}


@pytest.mark.parametrize("task", ROWS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_need_no_gold(task: str, kind: str, tmp_path: Path) -> None:
    row, text = ROWS[task]
    file = tmp_path / f"mine.{kind}"
    if kind == "jsonl":
        file.write_text(json.dumps(row))
    else:
        pd.DataFrame([row]).to_parquet(file)
    assert read_questions(get_task(task), file) == [(f"mine.{kind}:1", text)]


def test_the_page_names_every_column(cell: Path, mine: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    assert answered.answer(cell, mine, out, "prompt_tuning") == 0
    page = (ROOT / "docs/answering.md").read_text()
    assert re.findall(r"^\| `(\w+)`", page, re.MULTILINE) == list(answered.lines(out)[0])
