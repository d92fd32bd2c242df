"""Write the page that lists the cells of the study, with the numbers of its main table."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from dpc.analysis.studies.outcomes import WITHOUT_PROMPT
from dpc.config.slices import ExplorerIndexStage
from dpc.config.stages import stage
from dpc.plans.declaration import PLANS, in_order, label
from dpc.report.explorer import page
from dpc.storage import tables
from dpc.storage.files import atomic

STAGE = stage(version=2)


def run(settings: ExplorerIndexStage, *, evaluations: list[Path], out: Path) -> None:
    """Write the page `out`. `evaluations` go through models, then datasets, recipes and seeds; links are relative."""
    lists = (settings.models, settings.datasets, settings.recipes, settings.prompt_seeds)
    summaries = [{row.plan: row for row in tables.rows(tables.read(file, "evaluation"))} for file in evaluations]
    plans = in_order(name for summary in summaries for name in summary if PLANS[name].kind == "method")
    cells = [_cell(*cell, summary, plans) for cell, summary in zip(itertools.product(*lists), summaries, strict=True)]
    text = page.index(settings.study, cells, [label(name) for name in plans])
    with atomic(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _cell(
    model: str, dataset: str, recipe: str, seed: int, summary: dict[str, Any], plans: list[str]
) -> dict[str, Any]:  # fmt: skip
    """Return a row of the index: where the cell's page lies, and its numbers by plan, None where there are none."""
    dpc = summary.get("dpc")
    return {
        "names": [model, dataset, recipe, seed],
        "link": f"{model}/{dataset}/{recipe}/seed{seed}/explorer.html",
        "questions": max(row.questions for row in summary.values()),
        "accuracies": [_accuracy(name, summary[name]) if name in summary else None for name in plans],
        "fired": dpc and tables.number(dpc.fire_rate),
        "fixed": dpc and int(dpc.fixed),
        "broken": dpc and int(dpc.broken),
    }


def _accuracy(plan: str, row: Any) -> float:
    """Return the accuracy that the cell's page shows: without a prompt, which was never told the form, the lenient."""
    return float(row.accuracy_lenient if plan == WITHOUT_PROMPT else row.accuracy)
