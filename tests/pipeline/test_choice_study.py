"""BoolQ and SST-2 rows of one's own, from JSONL to tables, by configuration alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.storage import tables
from tests.support import small_grid
from tests.support.workflow import Workflow, overlay

pytestmark = pytest.mark.proof

NOUNS, KINDS = ("snow", "ice", "tea", "soup", "rain", "sand", "wind", "fire"), ("old", "new", "red", "odd", "dry")
COLD = ("snow", "ice", "rain", "wind")
BOOLQ = [
    {
        "question": f"is {kind} {noun} cold",
        "passage": f"{kind} {noun} is {'cold' if noun in COLD else 'warm'}.",
        "answer": noun in COLD,
    }
    for kind, noun in itertools.product(KINDS, NOUNS)
]
SST2 = [
    {"sentence": f"{word} {noun} {kind}", "label": label, "idx": 7}
    for (word, label), noun, kind in itertools.product((("fine", 1), ("dull", 0)), NOUNS[:4], KINDS)
]
OPTIONS: dict[str, Any] = {
    "my_boolq": {"labels": ["no", "yes"], "question": "{passage}\nQuestion: {question}?"},
    "my_sst2": {"labels": ["negative", "positive"], "question": "{sentence}", "answer": "label"},
}
TEMPLATES = {"my_boolq": "{question}\nAnswer: ", "my_sst2": "{question}\nSentiment: "}
PLANS = ["no_prompt", "prompt_tuning", "dpc", "always", "projected", "likelihood", "likelihood_no_prompt"]
SPLITS = {"tuning": 8, "validation": 2, "calibration": 8, "act_select": 0, "act_confirm": 0, "test": 12}


def config() -> dict[str, Any]:
    own = {"model": {"path": "model", "dtype": "float32"}}
    datasets = {
        name: {
            "task": "choice", "options": OPTIONS[name], "files": {"test": f"{name}.jsonl"}, "max_new_tokens": 6,
            "template": TEMPLATES[name], "splits": SPLITS,
        }
        for name in OPTIONS
    }  # fmt: skip
    study = {"models": ["model"], "datasets": [*OPTIONS], "plans": PLANS}
    named = {"study": study, "models": own, "datasets": datasets, "variants": {"rows": 4}}
    sized = {name: small_grid.CONFIG[name] for name in ("recipes", "significance", "statistics", "execution", "shards")}
    return overlay({**sized, "study": small_grid.CONFIG["study"], "controls": small_grid.CONFIG["controls"]}, named)


def test_own_rows_of_labelled_options_go_to_tables_by_configuration_alone(tmp_path: Path) -> None:
    workflow = Workflow(tmp_path, config(), over=())
    for name, rows in (("my_boolq", BOOLQ), ("my_sst2", SST2)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [f"{row['passage']}\nQuestion: {row['question']}?\nAnswer: " for row in BOOLQ]
    asked += [f"{row['sentence']}\nSentiment: " for row in SST2]
    said = [("no", "yes")[row["answer"]] for row in BOOLQ] + [("negative", "positive")[row["label"]] for row in SST2]
    small_grid.write_model(tmp_path / "model", "llama3-8b", list(zip(asked, said, strict=True)))
    workflow.run("check")
    workflow.run("tables")
    found = pd.read_csv(tmp_path / "results/tables/ablation.csv")
    for name in OPTIONS:
        rows = found[found["dataset"] == name].set_index("plan")
        assert set(rows.index) >= {"likelihood", "likelihood_no_prompt", "projected"}
        check_cell(tmp_path / "results/model" / name / "paper/seed0", OPTIONS[name]["labels"])
    workflow.run("results/model/my_boolq/paper/seed0/explorer.html")
    assert '"likelihood_no_prompt"' in (tmp_path / "results/model/my_boolq/paper/seed0/explorer.html").read_text()
    check_rewards(workflow)


def check_rewards(workflow: Workflow) -> None:
    """RLPrompt is told the labels: every question goes through the model once with each."""
    told = {"tuner": "rlprompt", "vectors": 2, "options": {"steps": 2, "prompts": 3, "batch_size": 4, "hidden": 8}}
    file = "results/model/my_boolq/labels/seed0/training.parquet"
    workflow.run(file, change={"recipes": {"labels": told}, "study": {"recipes": ["labels"]}})
    cost = tables.provenance(workflow.folder / file)["cost"]
    greedy, held_out = 2, SPLITS["validation"]
    assert cost["passes"] <= 2 * 3 * (1 + 4 * 2) + greedy * (1 + held_out)
    assert (cost["passes"] - 2 * 3 - greedy * (1 + held_out)) % (4 * 2) == 0


def check_cell(cell: Path, labels: list[str]) -> None:
    """The likeliest label is graded as any answer; gold is met by one of the labels in every row."""
    scored = tables.read(cell / "options/scores.parquet", "options")
    assert sorted(scored["edit_id"].unique()) == ["likelihood", "likelihood_unprompted"]
    best = [labels[int(pd.Series(scores).argmax())] for scores in scored["log_likelihood"]]
    assert scored["likeliest"].tolist() == best
    outcomes = tables.read(cell / "evaluation/outcomes.parquet", "outcomes")
    for plan, edit in (("likelihood", "likelihood"), ("likelihood_no_prompt", "likelihood_unprompted")):
        own = scored[scored["edit_id"] == edit].set_index("problem_id")["likeliest"]
        rows = outcomes[outcomes["plan"] == plan]
        assert (rows["extracted"] == rows["problem_id"].map(own)).all()
        assert (rows["correct"] == (rows["extracted"] == rows["answer"])).all()
        assert set(rows["answer"]) <= set(labels)
