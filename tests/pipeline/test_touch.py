"""Results copied to another machine: what was made is touched there, without the weights and rows it was made from."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dpc.pipeline import cost
from tests.support import model_folders
from tests.support.workflow import Workflow, overlay

STUDY: dict[str, Any] = {"study": {"results": "results", "recipes": ["well_tuned"], "prompt_seeds": [0], "oracles": []}}
HUB = overlay(
    STUDY, {"study": {"models": ["mistral-7b"], "datasets": ["gsm8k"]}, "shards": {"generate": 1, "saliency": 1}}
)
OWN = overlay(
    STUDY,
    {
        "study": {"models": ["own"], "datasets": ["own"], "recipes": ["brought"]},
        "models": {"own": {"path": "given/model"}},
        "datasets": {
            "own": {
                "task": "gsm8k",
                "files": {"train": "given/train.jsonl", "test": "given/test.jsonl"},
                "template": "{question}",
            }
        },
        "recipes": {"brought": {"adapter": "given/adapter", "vectors": 3, "layout": "bos_first"}},
    },
)


SIZES: dict[str, Any] = {
    "models": {"own": {"parameters": 7.0}}, "datasets": {"own": {"splits": {"test": 1}}},
}  # fmt: skip
NEEDED: list[tuple[dict[str, Any], str]] = [
    ({"models": {"own": {"dtype": "float32"}}}, "(model/config|adapter/adapter_config).json"),
    ({"datasets": {"own": {"splits": {"on_overlap": "drop"}}}}, "(train.jsonl|model/config.json|adapter/.*)"),
]
"""Other settings, with which jobs run, and what one of them reads that is not here."""


def copied(folder: Path, config: dict[str, Any]) -> Workflow:
    """Return a folder with the outputs of a study, and nothing that says how they were made."""
    workflow = Workflow(folder, config)
    workflow.pretend()
    for name in (".snakemake", "given", "resources"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return workflow


def test_a_study_of_the_hubs_models_is_touched_and_goes_on_from_there(tmp_path: Path) -> None:
    workflow = copied(tmp_path, HUB)
    workflow.run("--touch", "--forceall")
    assert not (tmp_path / "resources/models/mistral-7b").exists()
    assert workflow.planned() == {}
    redrawn = workflow.planned(change={"figures": {"cases": 4}})
    assert "draw_figures" in redrawn
    assert not redrawn.keys() & {"fetch_model", "fetch_dataset", *cost.RATES}


def test_a_model_that_only_reads_prompts_may_be_absent_until_it_reads(tmp_path: Path) -> None:
    read = {"models": {"other": {"path": "given/other"}}, "interpretability": {"reader": "other"}}
    sized = overlay(read, {"models": {"other": {"parameters": 7.0}}})
    absent = Workflow(tmp_path, STUDY).snakemake("--dry-run", change=read)
    assert "config: models.other.path is 'given/other': found no config.json there" in absent.stdout + absent.stderr
    workflow = copied(tmp_path, STUDY)
    workflow.run("--touch", "--forceall", change=sized)
    assert workflow.planned(change=sized) == {}
    (tmp_path / "results/builtin/arithmetic/well_tuned/seed0/interpretability.parquet").unlink()
    done = workflow.snakemake("interpretability", "--cores", "1", change=sized)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("check: ")]
    assert line.startswith("check: given/other/config.json: found no such file, but a job of this run reads it (meas")


def test_a_study_of_ones_own_files_is_touched_where_their_size_is_written(tmp_path: Path) -> None:
    given = tmp_path / "given"
    model_folders.write(given / "model", num_hidden_layers=4)
    model_folders.write_adapter(given / "adapter", (3, 16))
    for pool in ("train", "test"):
        (given / f"{pool}.jsonl").write_text(json.dumps({"question": "?", "answer": "#### 1"}))
    own = copied(tmp_path, OWN)
    table = own.folder / "results/tables/main.html"
    before = table.stat().st_mtime_ns
    own.run("--touch", "--forceall", change=SIZES)
    assert table.stat().st_mtime_ns > before
    assert own.planned(change=SIZES) == {}
    redrawn = own.planned(change=overlay(SIZES, {"figures": {"cases": 4}}))
    assert "draw_figures" in redrawn
    assert not redrawn.keys() & {"load_problems", *cost.RATES}
    own.run("check", change=SIZES)
    for change, absent in NEEDED:
        done = own.snakemake("--cores", "1", change=overlay(SIZES, change))
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("check: ")]
        assert re.search(rf"^check: given/{absent}: found no such file, but a job of this run reads it \(", line), line
        assert line.endswith("; copy it there, or write another path")
        assert done.returncode != 0


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"datasets": {"own": {"splits": {"test": 1}}}}, "config: models.own: given/model: found no safetensors file"),
        ({"models": {"own": {"parameters": 7.0}}}, "config: datasets.own.files.test: given/test.jsonl: cannot be read"),
    ],
    ids=["parameters", "rows"],
)
def test_what_cannot_be_counted_is_asked_for(tmp_path: Path, known: dict[str, Any], said: str) -> None:
    done = Workflow(tmp_path, OWN).snakemake("--touch", "--cores", "1", change=known)
    assert done.returncode != 0
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("config: ")]
    assert line.startswith(said)
    assert "; or write models.own.parameters, in b" in line or "; or write datasets.own.splits.test, to touch" in line


def test_rows_that_are_absent_still_stop_a_run(tmp_path: Path) -> None:
    done = Workflow(tmp_path, OWN).snakemake("--cores", "1")
    assert "config: datasets.own.files.train is 'given/train.jsonl': found no such file" in done.stderr
