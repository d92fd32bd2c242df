"""Answers of two models never stand side by side: new weights under the same config.json are noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dpc.config.settings import load_config
from dpc.pipeline import other_weights
from dpc.storage import hashing, tables
from tests.support import config_tree, model_folders
from tests.support.workflow import SMALLEST, Workflow, overlay

ANSWERS = ("own/arithmetic/unprompted/1-of-1.parquet", "own/arithmetic/well_tuned/seed0/generations/1-of-1.parquet")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folders.write(tmp_path / "model")


def change(folder: Path, results: str) -> dict[str, Any]:
    own = {"own": {"path": str(folder), "dtype": "float32"}}
    return overlay(SMALLEST, {"study": {"models": ["own"], "results": results}, "models": own})


def made_with(folder: Path, results: Path, *names: str) -> None:
    """Leave tables of answers whose footers name the weights in the folder."""
    for name in names:
        about = {"stage": "generate_base", "hashes": {"model": [hashing.model_hash(folder)]}}
        tables.write(results / name, "generations", tables.empty("generations"), about)


def other(folder: Path) -> None:
    """Put other weights of the same shape there."""
    model_folders.save(folder, model_folders.weights(model_folders.config("llama"), seed=1))
    hashing.model_hash.cache_clear()


def test_tables_of_other_weights_are_named_and_no_others(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    config = load_config(overlay(config_tree.demo(), change(folder, str(results))))

    def found(*made_anew: str) -> list[str]:
        return other_weights.found(config, lambda _: folder, ["own"], made_anew)

    assert found() == []
    made_with(folder, results, *ANSWERS)
    assert found() == []
    before = hashing.model_hash(folder)
    other(folder)
    (line,) = found()
    assert line.startswith(
        f"{results / ANSWERS[0]}: made with other weights of own ({before}) than {folder} holds now ("
    )
    assert "as 2 tables of answers in all; -R tune_prompt generate_unprompted makes them anew" in line
    assert found(*(str(results / name) for name in ANSWERS)) == []
    made_with(folder, results, ANSWERS[0])
    (line,) = found()
    assert line.startswith(str(results / ANSWERS[1]))
    assert other_weights.found(config, lambda _: folder, []) == []
    assert other_weights.found(config, lambda _: tmp_path / "gone", ["own"]) == []


def test_a_run_that_would_mix_them_is_refused_and_a_dry_run_says_so(folder: Path, tmp_path: Path) -> None:
    workflow = Workflow(tmp_path / "here", config_tree.demo())
    made_with(folder, tmp_path / "here/results", *ANSWERS)
    told = ["--configfile", "overlay.yaml", "--", "generations"]
    own = change(folder, "results")
    assert "other weights" not in workflow.plainly("-n", *told, change=own).stdout
    other(folder)
    planned = workflow.plainly("-n", *told, change=own)
    assert f"note: results/{ANSWERS[0]}: made with other weights of own" in planned.stdout + planned.stderr
    refused = workflow.plainly("--cores", "1", *told[:-1], "saliency", change=own)
    assert refused.returncode != 0
    assert "made with other weights of own" in refused.stderr.splitlines()[-1]
