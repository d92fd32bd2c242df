"""`python -m dpc show QUESTION`: one question of a study, from tables alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpc.pipeline import cli, show
from dpc.prompts.edits import Edit
from dpc.storage import meanings, tables
from tests.support import small_studies
from tests.support.report_samples import table, threshold_rows

CELL = "toy/arithmetic/good"
STUDY = small_studies.STUDIES["never_fires"]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a cell: DPC fires under seed 1 alone."""
    folder = tmp_path_factory.mktemp("results")
    outcomes = small_studies.outcomes(small_studies.Study(dpc=(1,), act=(), cut=32), 1)
    ids = outcomes["problem_id"].unique()
    asked = {"problem_id": ids, "split": "test", "question": [f"How many pears, {n} of them?" for n in range(len(ids))]}
    questions = pd.DataFrame(asked).assign(prompt_text="", source="")
    gold = pd.DataFrame({"problem_id": ids, "answer": "34", "rationale": "17 + 17 = 34", "steps": 1})
    write(folder, "questions", questions, "")
    write(folder, "gold", gold, "")
    for seed, share in ((0, None), (1, 0.3)):
        rows = outcomes.assign(fired=outcomes["fired"] & ((outcomes["plan"] != "dpc") | (share is not None)))
        evidence = (
            small_studies.evidence(STUDY, 0).head(len(ids)).assign(problem_id=ids, affected_share=0.5, fired=True)
        )
        write(folder, "outcomes", rows, seed)
        write(folder, "evidence", evidence, seed)
        write(folder, "thresholds", threshold_rows(share), seed)
        write(folder, "mechanism", small_studies.mechanism(rows), seed)
        write(folder, "plans", planned(rows), seed)
    return folder


def write(folder: Path, name: str, rows: pd.DataFrame, seed: object) -> None:
    file = meanings.TABLES[name].file.replace("MODEL/DATASET/RECIPE/seedN", f"{CELL}/seed{seed}")
    for word, value in (("DATASET", "arithmetic"), ("SPLIT", "test"), ("PART", "test")):
        file = file.replace(word, value)
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    table(folder / file, name, rows)


def planned(rows: pd.DataFrame) -> pd.DataFrame:
    edits = {
        "edit_id": "e",
        "mask": "scale",
        "mask_value": 0.0,
        "gamma": 10.0,
        "gamma_scale": 0.0,
        "gamma_scope": "others",
    }
    masked = [np.array([2])] * len(rows)
    made = rows[["problem_id", "plan", "candidate", "fired"]].assign(**edits, gamma_seed=-1, masked=masked)
    by_likelihood = made["plan"] == "identity"  # fired, and no edit of a prompt
    return made.assign(edit_id=made["edit_id"].mask(by_likelihood, "likelihood"))


def shown(results: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["show", *words, "--study", str(results)]) == 0
    return capsys.readouterr().out


def test_a_question_is_shown_with_its_readings_and_rationales(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(results, capsys, "pears, 3 of")  # the fourth question: DPC fires on it under seed 1
    assert "Gold answer: 34" in text
    assert "Gold rationale: 17 + 17 = 34" in text
    first, second = text.split(f"{CELL}/seed0")[1].split(f"{CELL}/seed1")
    assert "R: none, as none has a gain on calibration: DPC never fires" in first
    assert "share of affected tokens 0.500, R = 0.3: DPC fires" in second
    assert "located vector 2 (from 0)" in second
    assert "under DPC's edit 5.00e-01, S_IFP 0.500" in second
    assert "under DPC's edit" not in first
    assert "DPC (vector 2 × 0, Γ = 10 %)" in second
    assert re.search(r"Identity \(noise floor\)(;|$)", second, re.MULTILINE), "what regenerate did not make has no edit"
    assert "cut short at max_new_tokens" in second
    rationales = [line for line in second.splitlines() if line.startswith("    | ")]
    assert len(rationales) == len(set(rationales)) == 6  # identity, prompt tuning and ACT give the same one


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (Edit(masked=(3, 4), mask_value=0.5, gamma=5), " (vector 3, 4 × 0.5, Γ = 5 %)"),
        (Edit(masked=(3,), mask="vocabulary_mean"), " (vector 3 vocabulary mean, Γ = 0 %)"),
        (Edit(gamma=10), " (Γ = 10 %)"),
        (Edit(mask="nearest_token"), " (every vector: nearest token)"),
    ],
)
def test_an_edit_says_what_it_does(edit: Edit, said: str) -> None:
    (row,) = tables.rows(pd.DataFrame([edit.columns()]))
    assert show._edit(row) == said


def test_a_cell_and_an_id_may_be_chosen(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = tables.read(results / "problems/arithmetic/questions.parquet", "questions")["problem_id"]
    text = shown(results, capsys, ids[5][:12], "--cell", "seed1")
    assert text.startswith(f"{ids[5]}, split test")
    assert "seed0" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pears"], "found 32 questions with 'pears'; write a whole problem_id: toy-"),
        (["plums"], "found no question with 'plums' in its problem_id or text; write one such as toy-"),
        (["pears, 3 of", "--cell", "seed7"], "found no evaluated cell of arithmetic with 'seed7'"),
        (["pears", "--study", "nowhere"], "nowhere: found no problems/DATASET/questions.parquet"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_line(
    results: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert cli.main(["show", "--study", str(results), *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
