"""Write the page that lists the cells of the study, with the numbers of its main table."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.config.slices import ExplorerIndexStage
from dpc.config.stages import stage
from dpc.plans.declaration import PLANS, in_order, label
from dpc.report.explorer import page
from dpc.storage import tables
from dpc.storage.files import atomic

STAGE = stage(version=1)


def run(settings: ExplorerIndexStage, *, evaluations: list[Path], out: Path) -> None:
    """Write the page `out`. `evaluations` go through models, then datasets, recipes and seeds; links are relative."""
    lists = (settings.models, settings.datasets, settings.recipes, settings.prompt_seeds)
    summaries = [tables.read(file, "evaluation").set_index("plan") for file in evaluations]
    found = {name for summary in summaries for name in summary.index if PLANS[name].kind == "method"}
    plans = in_order(found)
    cells = [
        _cell(*cell, summary, plans) for cell, summary in zip(itertools.product(*lists), summaries, strict=True)
    ]
    text = page.index(settings.study, cells, [label(name) for name in plans])
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(
    model: str, dataset: str, recipe: str, seed: int, summary: pd.DataFrame, plans: list[str]
) -> dict[str, Any]:
    """Return a row of the index: where the cell's page lies, and its numbers, None where there are none."""
    dpc = summary.loc["dpc"] if "dpc" in summary.index else None
    return {
        "names": [model, dataset, recipe, seed],
        "link": f"{model}/{dataset}/{recipe}/seed{seed}/explorer.html",
        "questions": int(summary["questions"].max()),
        "accuracies": [
            tables.number(summary.loc[name, "accuracy"]) if name in summary.index else None for name in plans
        ],
        "fired": None if dpc is None else tables.number(dpc["fire_rate"]),
        "fixed": None if dpc is None else int(dpc["fixed"]),
        "broken": None if dpc is None else int(dpc["broken"]),
    }
