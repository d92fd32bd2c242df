"""The lines of docs/pandas.md run as they stand, and find what the tables hold."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpc.report.making import write_tables
from dpc.storage import meanings, tables
from dpc.storage.provenance import commit, give, provenance
from tests.support.paths import ROOT
from tests.support.report_samples import curve_rows, settings, table
from tests.support.small_studies import SEEDS, STUDIES, made

CELL = "builtin/arithmetic/over_reaching"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Lay a small study where the page expects one; return all its tables."""
    monkeypatch.chdir(tmp_path)
    found, frames = made(STUDIES["embedded"], tmp_path / "in")
    about = provenance("evaluate", found.settings)
    for name in ("outcomes", "evidence"):
        for seed, rows in frames[name].groupby("seed"):
            file = meanings.TABLES[name].file.replace("MODEL/DATASET/RECIPE", CELL).replace("seedN", f"seed{seed}")
            tables.write(tmp_path / "results/demo" / file, name, rows, about)
    curve = tmp_path / f"results/demo/{CELL}/seed1/threshold_curve.parquet"
    curve.parent.mkdir(parents=True, exist_ok=True)
    table(curve, "threshold_curve", curve_rows(np.random.default_rng(0)))
    write_tables(["main"], found, tmp_path / "results/demo/tables")
    return frames


def test_every_block_runs_and_finds_what_the_tables_hold(study: dict[str, Any]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/pandas.md").read_text(), re.MULTILINE | re.DOTALL)
    values: dict[str, Any] = {}
    for block in blocks:
        exec(block, values)
    answers = study["outcomes"]
    assert len(blocks) == 6
    by_plan = answers.groupby("plan")["correct_lenient"].mean()
    assert values["accuracy"]["correct_lenient"].to_dict() == pytest.approx(by_plan.to_dict())
    assert values["intervals"].set_index("plan").loc["dpc", "accuracy"] == pytest.approx(
        answers.loc[answers["plan"] == "dpc", "correct"].mean(), rel=1e-4
    )
    seed = answers[answers["seed"] == SEEDS[1]].set_index(["plan", "problem_id"])["correct"]
    assert set(values["fixed"].index) == set((seed["dpc"] & ~seed["prompt_tuning"]).loc[lambda fixed: fixed].index)
    assert values["vectors"]["size"].sum() == 80
    assert len(values["chosen"]) == 1
    assert values["made"][0] == commit()


def test_footers_name_what_a_stage_was_given(tmp_path: Path) -> None:
    """A model by its files, a prompt by its bytes, data by the footers of the tables that came from it."""
    model, prompt = tmp_path / "model", tmp_path / "prompt"
    for folder, name in ((model, "config.json"), (model, "model.safetensors"), (prompt, "adapter_model.safetensors")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"1")
    questions = tmp_path / "questions.parquet"
    about = {"hashes": {"data": ["d1"]}, "stage": "load_problems"}
    tables.write(questions, "questions", tables.empty("questions"), about)
    try:
        give([model, prompt, questions, tmp_path / "absent.parquet"])
        before = provenance("plan", settings())["hashes"]
        (prompt / "adapter_model.safetensors").write_bytes(b"2")
        after = provenance("plan", settings())["hashes"]
    finally:
        give([])
    assert before["data"] == ["d1"]
    assert {kind: len(values) for kind, values in before.items()} == {"model": 1, "data": 1, "prompt": 1}
    assert (before["model"], before["prompt"] == after["prompt"]) == (after["model"], False)
    assert provenance("plan", settings())["hashes"] == {"model": [], "data": [], "prompt": []}
