"""`snakemake findings`: what is kept of a finished study, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dpc.config.settings import Config, load_config
from dpc.config.slices import GradeAnswersStage
from dpc.errors import DpcError
from dpc.pipeline.publish import publish
from dpc.storage import attempts, tables
from dpc.storage.provenance import provenance
from tests.support import config_tree as tree
from tests.support.config_tree import overlay

BESIDE, CELL = "figures/own/arithmetic", "figures/own/arithmetic/well_tuned"
KEPT = {"tables/main.csv", "tables/main.md", f"{CELL}/plans.svg", f"{CELL}/plans.txt", f"{CELL}/mechanism.csv"}
KEPT |= {f"{BESIDE}/overview.svg"}
LEFT = (
    "tables/main.html",
    f"{CELL}/plans.pdf",
    f"{CELL}/cases.svg",
    f"{CELL}/cases.txt",
    f"{BESIDE}/removed/plans.svg",
)
"""Of other kinds, with whole questions, and of a recipe that the study has no more."""


@pytest.fixture
def finished(tmp_path: Path) -> Config:
    """The configuration of a study with a model of its own, and some of its results."""
    results = tmp_path / "results"
    for name in (*KEPT, *LEFT):
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text(name)
    own = {
        "study": {"results": str(results), "models": ["own"]},
        "models": {"own": {"path": "/home/me/models/mine", "dtype": "bfloat16", "parameters": 0.5}},
    }
    return load_config(overlay(tree.demo(), own))


def run_of(config: Config) -> None:
    """Leave what a stage leaves that has run: a line beside its log, and a table with a footer."""
    results = Path(config.study.results)
    log = results / "logs" / "plan" / "one.log"
    log.parent.mkdir(parents=True)
    with attempts.recorded(log, "plan", "cpu"):
        pass
    about = provenance("grade_answers", GradeAnswersStage(task="arithmetic"))
    table = results / "own/arithmetic/well_tuned/seed0/evaluation/verdicts.parquet"
    tables.write(table, "verdicts", tables.empty("verdicts"), about)


def test_tables_and_figures_are_kept_and_questions_are_not(finished: Config, tmp_path: Path) -> None:
    run_of(finished)
    folder = tmp_path / "findings"
    (folder / "tables").mkdir(parents=True)
    (folder / "tables" / "gone.csv").write_text("of a study before")
    publish(finished, folder)
    kept = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    made = {"tables/took.csv", "config.yaml", "versions.json"}
    assert kept == made | KEPT
    assert (folder / CELL / "plans.svg").read_text() == f"{CELL}/plans.svg"
    assert pd.read_csv(folder / "tables/took.csv").rule.tolist() == ["plan"]
    assert json.loads((folder / "versions.json").read_text())["packages"]["torch"]


def test_no_folder_of_the_machine_is_told(finished: Config, tmp_path: Path) -> None:
    run_of(finished)
    Path(finished.study.results, "summary.txt").write_text(f"Tables: {finished.study.results}/tables. 3 cells.")
    publish(finished, tmp_path / "findings")
    assert (tmp_path / "findings/summary.txt").read_text() == "Tables: results/tables. 3 cells."
    text = (tmp_path / "findings/config.yaml").read_text()
    written = yaml.safe_load(text)
    assert written["models"]["own"]["path"] == "mine"
    assert written["recipes"]["well_tuned"] == finished.model_dump(mode="json")["recipes"]["well_tuned"]
    assert str(tmp_path) not in text


def test_a_study_that_has_not_run_leaves_the_folder_alone(finished: Config, tmp_path: Path) -> None:
    (tmp_path / "findings").mkdir()
    (tmp_path / "findings/kept.csv").write_text("")
    with pytest.raises(DpcError, match="run the study first"):
        publish(finished, tmp_path / "findings")
    assert (tmp_path / "findings/kept.csv").exists()
