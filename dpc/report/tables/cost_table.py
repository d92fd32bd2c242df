"""Tokens and seconds of every plan."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.report import captions
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.formats import (
    Table,
    named_cells,
    plain,
    questions,
)
from dpc.report.tables.by_plan import by_plan, plan_text


@table(
    category="5 Interventions",
    caption=(
        "Tokens and seconds per question and plan. Seconds depend on hardware and batch size and differ between runs."
    ),
    tables=("evaluation",),
)
def cost(tables: Tables, settings: TablesStage) -> Table:
    """Return tokens and seconds per question, per cell and plan."""
    return build(tables.labelled("evaluation"), settings)


def build(evaluations: pd.DataFrame, settings: TablesStage) -> Table:
    """Return tokens and seconds per question and plan; seconds differ between runs and stand nowhere else."""
    numbers = by_plan(evaluations, settings, _pool)
    text = named_cells(numbers)
    text["plan"] = numbers["plan"].map(lambda name: plan_text(str(name), settings))
    text["tokens per question"] = [plain(value, 1) for value in numbers["tokens"]]
    text["seconds per question"] = [plain(value, 4) for value in numbers["seconds"]]
    caption = (
        "Generated tokens and wall-clock seconds of generation per question, means over "
        f"{captions.counted(len(settings.prompt_seeds), 'seed')} and {captions.count_range(questions(numbers))} test "
        "questions; prompt tuning's own rationale is included if a plan reads it first. Seconds are a batch's time "
        "divided by its rows, so they depend on hardware and batch size and differ between runs; saliency is not "
        f"included. {captions.run(settings)}"
    )
    return Table("cost", "Cost of the plans", numbers, text, caption)


def _pool(seeds: pd.DataFrame) -> dict[str, Any]:
    return {
        "questions": seeds["questions"].max(),
        "tokens": seeds["tokens"].mean(),
        "seconds": seeds["seconds"].mean(),
    }
