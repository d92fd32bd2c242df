"""Accuracy of the methods beside the published values."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from dpc.analysis.studies.outcomes import BASELINE
from dpc.config.slices import TablesStage
from dpc.plans.declaration import label as plan_label
from dpc.report import wording
from dpc.report.cells import ACCURACIES, Cell, Tables
from dpc.report.exhibits import table
from dpc.report.figures.plan_bars import METHODS
from dpc.report.published import (
    ACT_NOT_APPLIED,
    TEST_ROWS,
    Published,
    comparable,
    not_run,
    published,
)
from dpc.report.table_text import (
    CELL,
    Table,
    named_cells,
    percent,
    percents,
    points,
    questions,
    spans,
)
from dpc.report.tables.by_plan import idle_text, in_seeds
from dpc.report.wording import DASH


@table(
    category="1 Main results",
    caption=(
        "Accuracy of the methods beside the published values; intervals are over questions, conditional on the seeds."
    ),
    tables=("outcomes", "evaluation"),
)
def main(tables: Tables, settings: TablesStage) -> Table:
    """Return accuracy of the methods, per cell."""
    summaries = tables.labelled("evaluation")
    unchanged = summaries[summaries["unchanged"].astype(bool)]
    return build(tables.accuracies(), settings, Counter(map(tuple, unchanged[CELL].to_numpy())))


_NONE: Mapping[Cell, int] = MappingProxyType({})


def build(accuracies: pd.DataFrame, settings: TablesStage, unchanged: Mapping[Cell, int] = _NONE) -> Table:
    """Return accuracy of the methods, per model, dataset and recipe, beside the published values.

    `unchanged` counts the seeds of a cell whose prompt changes no answer.
    """
    found = {tuple(row[name] for name in [*CELL, "plan"]): row for row in accuracies.to_dict("records")}
    asked = {tuple(key): count for *key, count in accuracies[[*CELL, "questions"]].itertuples(index=False)}
    rows = []
    cells = list(itertools.product(settings.models, settings.datasets, settings.recipes))
    for cell in [*cells, *((*pair, "") for pair in not_run(settings.models, settings.datasets))]:
        for plan in METHODS:
            hidden = plan == "act" and settings.act.mode == "released"  # for the record, never the headline
            known = published(cell[0], cell[1], plan, asked.get(cell, math.nan))
            rows.append(_row(cell, plan, None if hidden else found.get((*cell, plan)), known))
    numbers = pd.DataFrame(rows)
    for ours, name in (("accuracy", "difference"), ("low", "difference_low"), ("high", "difference_high")):
        numbers[name] = numbers[ours] - numbers["published"]
    text = named_cells(numbers)
    seeds = len(settings.prompt_seeds)
    cells_of = map(tuple, numbers[CELL].to_numpy())
    text["method"] = [
        method(plan, idle, unchanged.get(cell, 0), seeds)
        for plan, idle, cell in zip(numbers["plan"], numbers["idle"], cells_of, strict=True)
    ]
    text["accuracy (%)"] = numbers["accuracy"].map(percent)
    text[f"{wording.level(settings)} interval"] = spans(numbers, "low", "high")
    text["seeds, lowest to highest"] = spans(numbers, "seed_low", "seed_high")
    text["read leniently (%)"] = [
        percents(*row) for row in numbers[["lenient", "lenient_low", "lenient_high"]].itertuples(index=False)
    ]
    text["cut short"] = [_cut(*row) for row in numbers[["cut", "answers"]].itertuples(index=False)]
    text["published (%)"] = [
        f"{percent(value)} (not applied)" if _not_applied(model, plan) and not math.isnan(value) else percent(value)
        for model, plan, value in zip(numbers["model"], numbers["plan"], numbers["published"], strict=True)
    ]
    text["ours − published (points)"] = [
        points(*row) for row in zip(*(numbers[f"difference{end}"] for end in ("", "_low", "_high")), strict=True)
    ]
    return Table("main", "Accuracy of the methods", numbers, text, _caption(numbers, settings))


def _row(cell: tuple[str, str, str], plan: str, ours: dict[Any, Any] | None, known: Published | None) -> dict[str, Any]:
    return {
        **dict(zip(CELL, cell, strict=True)),
        "plan": plan,
        **{column: math.nan if ours is None else ours[column] for column in ACCURACIES},
        "published": known.accuracy / 100 if known else math.nan,
        "source": f"{known.source}{'; ACT not applied' * _not_applied(cell[0], plan)}" if known else "",
    }


def _not_applied(model: str, plan: str) -> bool:
    """Return whether a published row is prompt tuning under ACT's name."""
    return plan == "act" and model.lower() in ACT_NOT_APPLIED


def method(plan: str, idle: float, unchanged: int, seeds: int) -> str:
    """Name a method; one that is prompt tuning under `idle` seeds says so, and a prompt that does nothing."""
    label = plan_label(plan)
    if plan == BASELINE and unchanged:
        return f"{label} (changes no answer{in_seeds(unchanged, seeds)})"
    return label if math.isnan(wording.real(idle)) else f"{label}{idle_text(plan, int(idle), seeds)}"


def _cut(cut: float, answers: float) -> str:
    return DASH if math.isnan(wording.real(answers)) else f"{cut:.0f} of {answers:.0f}"


def _caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    cells = len(settings.models) * len(settings.datasets) * len(settings.recipes)
    shown = numbers["published"].notna().any()
    beside = (
        "Published: the paper's poster, without an interval in the difference"
        if shown
        else "There is no published value for these models and datasets"
    )
    if "act" in settings.plans and settings.act.mode == "released":
        beside += "; ACT ran as the published function, which breaks cached decoding: see the ablation table"
    mistral = any(model.lower() in ACT_NOT_APPLIED for model in settings.models) and shown
    note = " (for Mistral-7B the published ACT row equals prompt tuning: ACT was not applied)" if mistral else ""
    return (
        f"Accuracy in % on {wording.count_range(questions(numbers))} test questions per cell, "
        f"{wording.counted(cells, 'cell')}, mean over {wording.counted(len(settings.prompt_seeds), 'seed')}. The "
        f"{wording.level(settings)} interval is over questions, conditional on these seeds: each question counts "
        "with its mean over seeds. Read leniently: if there is no answer in the form that the task asks for, the "
        "last text that could be one counts. A model without a prompt does not know that form: compare it with the "
        f"others as read leniently. {wording.CUT_SHORT} {beside}{note}. "
        f"{_other_test_sets(numbers)}A dash under accuracy: not run; under published and difference: nothing was "
        f"published. {wording.method(settings)} {wording.run(settings)}"
    )


def _other_test_sets(numbers: pd.DataFrame) -> str:
    """Return the sentence on datasets of a published name whose test questions are not the published ones."""
    sizes = numbers.groupby("dataset", sort=False)["questions"].max()
    other = [
        f"{name} was evaluated on {size:.0f} test questions, the published numbers on {TEST_ROWS[name.lower()]}"
        for name, size in zip(map(str, sizes.index), sizes, strict=True)
        if name.lower() in TEST_ROWS and not comparable(name, size)
    ]
    return f"Not compared: {'; '.join(other)}. " if other else ""
