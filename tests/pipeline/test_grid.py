"""The paper's whole grid in small, from config.yaml's names to tables and figures, on real questions."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dpc.storage import tables
from dpc.tasks import get_task
from dpc.tasks.base import AT_CHANCE
from tests.support import answered, small_grid
from tests.support.paths import DATA, ROOT, needs_data
from tests.support.workflow import Workflow, overlay

pytestmark = [needs_data, pytest.mark.proof, pytest.mark.long]
MODELS, DATASETS = ("llama2-13b", "llama3-8b", "mistral-7b"), ("gsm8k", "math", "aqua")
DRAWN = tuple(zip(MODELS, DATASETS, strict=True))
"""Every cell is in the tables; figures and pages, which take half of a small study's time, are made of these."""
FIGURES = ("cases", "layers", "accumulation", "exemplars", "analysis", "confidence", "thresholds", "plans")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    workflow = Workflow(tmp_path_factory.mktemp("grid"), small_grid.CONFIG, over=())
    small_grid.lay_out(workflow.folder, DATA)
    drawn = ("figures/{}/{}/overview.svg", "figures/{}/{}/paper/plans.svg", "{}/{}/paper/seed0/explorer.html")
    workflow.run("tables", *(f"results/{name.format(*cell)}" for cell in DRAWN for name in drawn), cores=2)
    return workflow


def result(workflow: Workflow, model: str, dataset: str, name: str) -> Path:
    return workflow.folder / "results" / model / dataset / "paper/seed0" / name


def test_every_figure_and_table_is_there(grid: Workflow) -> None:
    for model, dataset in DRAWN:
        folder = grid.folder / "results/figures" / model / dataset
        for kind in ("pdf", "svg", "txt"):
            assert (folder / f"overview.{kind}").stat().st_size
            assert all((folder / f"paper/{name}.{kind}").stat().st_size for name in FIGURES)
        assert result(grid, model, dataset, "explorer.html").stat().st_size
    for name in ("main", "ablation", "cost", "findings"):
        assert all(
            (grid.folder / f"results/tables/{name}.{kind}").stat().st_size for kind in ("csv", "md", "tex", "html")
        )


def test_every_cell_stands_in_the_main_table_and_says_that_its_test_set_is_not_the_papers(grid: Workflow) -> None:
    numbers = pd.read_csv(grid.folder / "results/tables/main.csv")
    ours = numbers
    assert set(zip(ours["model"], ours["dataset"], ours["plan"], strict=True)) == {
        (m, d, plan) for m in MODELS for d in DATASETS for plan in ("no_prompt", "prompt_tuning", "act", "dpc")
    }
    assert ours["accuracy"].notna().all()
    assert ours["published"].isna().all()
    page = (grid.folder / "results/tables/main.html").read_text()
    assert all(f"{name} was evaluated on 8 test questions" in page for name in DATASETS)
    assert ((ours["accuracy"] > 0) & (ours["accuracy"] < 1)).any(), "no cell has right and wrong answers"


def test_rows_say_how_they_were_graded(grid: Workflow) -> None:
    for dataset in DATASETS:
        rows = tables.read(result(grid, "mistral-7b", dataset, "evaluation/outcomes.parquet"), "outcomes")
        assert rows["stop_reason"].isin(["end", "stop_text", "length"]).all()
        assert rows["grader"].notna().all()
        assert (rows.loc[rows["correct"], "extracted"].notna()).all()
        assert (rows["correct_lenient"] | ~rows["correct"]).all()
        assert set(rows["grader"]) == {get_task(dataset).VERSION}
    footer = tables.provenance(next(result(grid, "mistral-7b", "aqua", "generations").glob("*.parquet")))
    assert footer["model"] == {"hub": "mistral-7b", "revision": "main", "commit": "0" * 40}


@pytest.mark.parametrize(("model", "dataset"), DRAWN)
def test_a_cell_answers_questions_as_the_study_did(model: str, dataset: str, grid: Workflow, tmp_path: Path) -> None:
    cell, out = result(grid, model, dataset, ""), tmp_path / "answers.jsonl"
    plans = [name for name in small_grid.CONFIG["study"]["plans"] if name != "no_prompt"]
    assert answered.answer(cell, answered.ask(cell, tmp_path, 8), out, *plans, "no_prompt") == 0
    assert len(answered.lines(out)) == 8 * 6
    assert answered.differences(cell, out) == []


def test_aqua_is_read_against_chance(grid: Workflow) -> None:
    """Eight questions never stand above a fifth by more than their interval, and half of them are right."""
    for model in MODELS:
        findings = tables.read(result(grid, model, "aqua", "study/findings.parquet"), "findings").set_index("name")
        is_luck = findings.loc["accuracy", "low"] <= 0.2
        assert findings.loc["auc_s_ifp", "at_chance"] == is_luck
        if (model, "aqua") in DRAWN:
            folder = grid.folder / f"results/figures/{model}/aqua/paper"
            assert "Dashed line: 20 %, what guessing reaches." in (folder / "plans.txt").read_text()
            assert (AT_CHANCE in (folder / "analysis.txt").read_text()) == is_luck
    assert "Dashed line" not in (grid.folder / "results/figures/llama3-8b/math/paper/plans.txt").read_text()


def readmes_configuration(**paths: Path) -> dict[str, Any]:
    """Return the README's lines for one's own model, questions and prompt, with real paths in them."""
    found: dict[str, Any] = {}
    for block in re.findall(r"^```yaml\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL):
        for name, path in paths.items():
            block = block.replace(f"/path/to/{name}", str(path))
        found = overlay(found, yaml.safe_load(block))
    assert "/path/to/" not in str(found)
    return found


def test_the_readmes_lines_run_ones_own_model_questions_and_prompt(grid: Workflow, tmp_path: Path) -> None:
    theirs = result(grid, "llama3-8b", "gsm8k", "prompt")
    shutil.copytree(theirs, tmp_path / "adapter/seed0")
    for part in ("train", "test"):
        shutil.copy(DATA / f"gsm8k/{part}.jsonl", tmp_path / f"{part}.jsonl")
    model = grid.folder / "resources/models/llama3-8b"
    files = {f"{part}.jsonl": tmp_path / f"{part}.jsonl" for part in ("train", "test")}
    mine = readmes_configuration(model=model, adapter=tmp_path / "adapter", **files)
    small = {**small_grid.CONFIG, "models": {"mymodel": {"dtype": "float32"}}, "recipes": {"brought": {"vectors": 3}}}
    small["datasets"] = {"myquestions": small_grid.CONFIG["datasets"]["gsm8k"]}
    workflow = Workflow(tmp_path / "work", overlay(mine, small), over=())
    workflow.run("evaluation", cores=2)
    folder = workflow.folder / "results/mymodel/myquestions/brought/seed0"
    rows = tables.read(folder / "evaluation/outcomes.parquet", "outcomes")
    assert rows.groupby("plan")["problem_id"].nunique().eq(8).all()
    name = "prompt/adapter_model.safetensors"
    assert (folder / name).read_bytes() == (tmp_path / "adapter/seed0/adapter_model.safetensors").read_bytes()
    assert tables.read(folder / "training.parquet", "training")["validation_loss"].notna().all()


def test_a_model_that_is_not_run_leaves_dashes(grid: Workflow) -> None:
    grid.run("tables", change={"study": {"models": ["llama3-8b"]}})
    numbers = pd.read_csv(grid.folder / "results/tables/main.csv")
    others = numbers[numbers["model"] != "llama3-8b"]
    assert len(numbers) == 9 * 4
    assert others["accuracy"].isna().all()
    assert others["published"].notna().all()
    page = (grid.folder / "results/tables/main.md").read_text()
    assert any(line.startswith("| llama2-13b") and "| – " in line for line in page.splitlines())
