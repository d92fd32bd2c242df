"""A stage is told what it reads, and nothing else: so an edit reruns what reads the key, and no more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dpc.config.told import STAGES
from dpc.storage import tables
from tests.support.paths import ROOT
from tests.support.workflow import ONE_THREAD, SMALLEST, Workflow, overlay

pytestmark = pytest.mark.proof

STUDY = overlay(
    SMALLEST,
    {
        "trigger": {"share": 0.0},
        "formats": {"one": {"template": "Q : {question} A :", "shots": 1}},
        "datasets": {
            "arithmetic": {"formats": {"builtin": "one"}},
            "own": {
                "task": "gsm8k", "files": {"train": "train.jsonl", "test": "test.jsonl"}, "template": "{question}",
                "columns": {"question": "asked"},
                "splits": {"calibration": 1, "validation": 1, "act_select": 2, "act_confirm": 2, "on_overlap": "drop"},
            },
        },
        "recipes": {"harmful": {**SMALLEST["recipes"]["well_tuned"], "keep": "last"}},
        "validation": {
            "recipe": "well_tuned", "harmful_recipe": "harmful", "choosing_seeds": [1], "held_out_seeds": [0],
            "planting": {"positions": 2, "questions": 4, "steps": 2, "batch_size": 4},
        },
    },
)  # fmt: skip
"""Every stage has work: DPC fires, questions have a format of their own, harm is planted, rows are read from files."""
ASKED = {"train.jsonl": "ABCDEFGH", "test.jsonl": "HI"}
"""Questions by file, a letter each; one is in both."""
ELSEWHERE = {
    "render_questions": ["bos"],  # read where there is a chat template
    "tune_prompt": ["recipe.keep", "recipe.options"],  # read after a look that is no better; by tuners that have some
}
"""Keys that this study gives no cause to read; tests of their own do."""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    for name, asked in ASKED.items():
        rows = [{"asked": question, "answer": "So it is\n#### 1"} for question in asked]
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    workflow = Workflow(folder, STUDY)
    workflow.run("all", "validate")
    workflow.run("results/problems/own/questions.parquet", change={"study": {"datasets": ["own"]}})
    return folder


def test_snakemake_validate_writes_its_table(study: Path) -> None:
    found = tables.read(study / "results/tables/validation.parquet", "validation")
    assert set(zip(found["kind"], found["part"], strict=True)) == {
        (kind, part) for kind in ("planted", "natural") for part in ("choosing", "held_out")
    }
    assert found.groupby(["kind", "part"])["is_default"].sum().eq(1).all()
    assert found.loc[found["kind"] == "planted", "hit"].between(0, 1).all()
    assert (study / "results/tables/validation.html").stat().st_size > 0
    rows_of = {
        seed: tables.read(next(study.glob(f"results/builtin/*/well_tuned/seed{seed}/planted.parquet")), "planted")
        for seed in (0, 1)
    }
    assert set(rows_of[1]["split"]) == {"calibration"}  # prompts for choosing never meet a test question
    assert set(rows_of[0]["split"]) == {"calibration", "test"}
    assert len(set(rows_of[0]["position"])) == 3


def test_every_stage_reads_every_key_that_it_is_told(study: Path) -> None:
    """Last: stages run again in the study's own folder."""
    command = [sys.executable, "-m", "tests.support.told", str(study)]
    environment = {**ONE_THREAD, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr
    unread = json.loads(done.stdout)
    assert {stage: keys for stage, keys in unread.items() if keys} == ELSEWHERE
    assert set(unread) == {*STAGES} - {"score_options"}  # only where options are labelled, as in test_choice_study
