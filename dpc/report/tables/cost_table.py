"""Tokens and seconds of every plan."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.table_text import (
    Table,
    named_cells,
    plain,
    questions,
)
from dpc.report.tables.by_plan import by_plan, plan_texts, sampled


@table(
    category="5 Interventions",
    caption=(
        "Tokens, seconds and memory per question and plan: first answer, trigger, location, second answer. Seconds and "
        "memory depend on hardware and batch size and differ between runs."
    ),
    tables=("evaluation",),
)
def cost(tables: Tables, settings: TablesStage) -> Table:
    """Return tokens, seconds and memory, per cell and plan."""
    return build(tables.labelled("evaluation"), settings)


def build(evaluations: pd.DataFrame, settings: TablesStage) -> Table:
    """Return tokens and seconds per question and plan; seconds differ between runs and stand nowhere else."""
    numbers = by_plan(evaluations, settings, _pool)
    text = named_cells(numbers)
    text["plan"] = plan_texts(numbers, settings)
    for name, (shown, digits) in SHOWN.items():
        text[shown] = [plain(value, digits) for value in numbers[name]]
    caption = (
        f"Per question, means over {wording.counted(len(settings.prompt_seeds), 'seed')} and "
        f"{wording.count_range(questions(numbers))} test questions. Tokens: generated, and of these in a second "
        "answer. Seconds: in all; generation (the first answer, or the only one); trigger (saliency of every "
        "question's first answer, until all deep layers are read: a plan that never fires pays for it too); location "
        "(the rest of saliency, down to the shallow layers, where the plan fires; all of it for a plan without a "
        "trigger); regeneration (the second answer, drafted from the first, where the plan fires). The study measures "
        "saliency of all layers and rows in one pass; `python -m dpc answer` measures less for the trigger. Seconds "
        "are a batch's wall-clock time divided by its rows. Memory: the largest peak of the jobs that made a plan's "
        "answers, in GB, of the card where there is one. Seconds and memory depend on hardware and batch size and "
        "differ between runs. "
        f"{sampled(numbers)}{wording.run(settings)}"
    )
    return Table("cost", "Cost of the plans", numbers, text, caption)


SHOWN = {
    "tokens": ("tokens", 1),
    "tokens_regeneration": ("in a second answer", 1),
    "seconds": ("seconds", 4),
    "seconds_generation": ("generation", 4),
    "seconds_trigger": ("trigger", 4),
    "seconds_location": ("location", 4),
    "seconds_regeneration": ("regeneration", 4),
    "memory_gb": ("memory (GB)", 2),
}
"""Columns of table `evaluation`: their heads, and decimals shown."""


def _pool(seeds: pd.DataFrame) -> dict[str, Any]:
    means = {name: seeds[name].mean() for name in SHOWN if name != "memory_gb"}
    return {"questions": seeds["questions"].max(), **means, "memory_gb": seeds["memory_gb"].max()}
