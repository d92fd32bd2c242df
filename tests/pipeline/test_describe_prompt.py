"""What a prompt is, says and has cost: from a run of `tune_prompt`, killed or not, new or old."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dpc.pipeline.cli import main
from dpc.storage import adapter_files, tables
from tests.support import resumable
from tests.support.searches import OPTIONS

LONGEST = {"vectors": 4}


def tuned(small_cell: Path, out: Path, **recipe: Any) -> Path:
    """Tune a prompt of a recipe and return the folder of its adapter."""
    line = resumable.commands(small_cell, out, recipe=recipe)["tune_prompt"]
    folder = out / "prompt"
    places = {
        f"{out}/prompt.safetensors": folder / adapter_files.WEIGHTS,
        f"{out}/prompt.json": folder / adapter_files.CONFIG,
    }
    for old, new in places.items():
        line = [part.replace(old, str(new)) for part in line]
    assert main(line) == 0
    return folder


def described(folder: Path) -> tuple[Any, pd.DataFrame]:
    """Return the row of table `prompts`, and table `search`."""
    out = folder.parent
    names = {name: out / f"{name}.parquet" for name in ("prompts", "search")} | {"history": out / "h.parquet"}
    names |= {"weights": folder / adapter_files.WEIGHTS, "adapter": folder / adapter_files.CONFIG}
    assert main(["describe_prompt", "--settings={}", *(f"--{name}={file}" for name, file in names.items())]) == 0
    (row,) = tables.rows(tables.read(names["prompts"], "prompts"))
    return row, tables.read(names["search"], "search")


@pytest.mark.parametrize("tuner", sorted(OPTIONS))
def test_a_discrete_prompt_says_its_tokens_its_losses_and_its_cost(
    tuner: str, small_cell: Path, tmp_path: Path
) -> None:
    folder = tuned(small_cell, tmp_path, tuner=tuner, options=OPTIONS[tuner], **LONGEST)
    row, search = described(folder)
    said = adapter_files.tokens(folder / adapter_files.WEIGHTS)
    assert said is not None
    assert (row.tuner, row.order, row.text, list(row.token_ids)) == (tuner, "bos_first", said.text, list(said.ids))
    assert row.vectors == len(said.ids)
    assert row.validation_loss == pytest.approx(search.loc[search["kept"], "score"].min())
    assert row.validation_loss == pytest.approx(
        tables.read(tmp_path / "h.parquet", "training")["validation_loss"].min()
    )
    assert search["passes"].iloc[-1] <= row.passes
    assert row.tokens > row.passes > 0
    assert (row.start_loss >= row.validation_loss) != (tuner in ("written", "random_text"))


def test_a_soft_prompt_says_nothing_and_its_passes_are_its_steps_and_looks(small_cell: Path, tmp_path: Path) -> None:
    row, search = described(tuned(small_cell, tmp_path, **resumable.RECIPE))
    steps, batch, looks = resumable.RECIPE["steps"], resumable.RECIPE["batch_size"], 3
    assert pd.isna(row.text)
    assert search.empty
    assert row.passes == steps * batch + looks * resumable.SPLITS["validation"]
    assert row.gradients == steps * batch


def test_a_prompt_of_before_costs_were_counted_has_none(small_cell: Path, tmp_path: Path) -> None:
    folder = tuned(small_cell, tmp_path, **resumable.RECIPE)
    history = tmp_path / "h.parquet"
    footer = tables.provenance(history)
    old = {key: value for key, value in footer.items() if key not in ("cost", "search", "table")}
    tables.write(history, "training", tables.read(history, "training"), old)
    row, search = described(folder)
    assert pd.isna(row.passes)
    assert search.empty


def test_a_discrete_prompt_that_is_brought_in_says_its_tokens_again(small_cell: Path, tmp_path: Path) -> None:
    folder = tuned(small_cell, tmp_path / "first", tuner="written", options=OPTIONS["written"], **LONGEST)
    line = resumable.commands(small_cell, tmp_path, recipe=resumable.RECIPE)["tune_prompt"]
    assert main([*line, f"--given={folder}"]) == 0
    again = adapter_files.tokens(tmp_path / "prompt.safetensors")
    assert again == adapter_files.tokens(folder / adapter_files.WEIGHTS)
    assert json.loads((folder / adapter_files.CONFIG).read_text())["num_virtual_tokens"] == 4
