"""How far flow, S_IFP and NLL moved under corruption."""

from __future__ import annotations

import pandas as pd

from dpc.analysis.studies.flow_change import summary
from dpc.config.slices import ReportStage
from dpc.plans.declaration import label as plan_label
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.table_text import (
    CELL,
    Table,
    percent,
    plain,
    span,
)


@table(
    category="5 Interventions",
    caption=(
        "After corruption: does the flow from the prompt to the latter half of the rationale fall, and more in "
        "repaired answers?"
    ),
    tables=("mechanism",),
    note=("Below the dashed line the flow fell; repaired answers should have fallen further than those still wrong."),
    of="cell",
)
def mechanism(tables: Tables, settings: ReportStage) -> Table:
    """Return one row per plan and outcome."""
    return build(summary(tables.stacked("mechanism"), settings.statistics.confidence), settings)


def build(falls: pd.DataFrame, settings: ReportStage) -> Table:
    """Return how far flow, S_IFP and NLL moved, per plan and outcome."""
    cell = dict(zip(CELL, (settings.models[0], settings.datasets[0], settings.recipes[0]), strict=True))
    numbers = falls.assign(**cell)
    text = numbers[CELL].astype(str)
    text["plan"] = numbers["plan"].map(plan_label)
    text["finding"] = numbers["outcome"]
    text["fired"] = numbers["fired"].astype(str)
    text["flow fell (%)"] = numbers["fell"].map(percent)
    text[f"{wording.level(settings)} interval"] = [
        span(*pair) for pair in zip(numbers["low"], numbers["high"], strict=True)
    ]
    text["flow, before / after"] = numbers["ratio"].map(lambda value: plain(value, 2))
    text["S_IFP, before − after"] = numbers["s_ifp"].map(lambda value: plain(value, 3))
    text["NLL, before − after"] = numbers["nll"].map(lambda value: plain(value, 3))
    caption = (
        f"{'No fired question was measured: there is no row. ' * numbers.empty}"
        "Flow from the prompt to the latter half of the rationale, before corruption and under the corrupted "
        "prompt, by what became of the answer. A ratio above 1, or a difference above 0, is a fall. Both are "
        "medians over fired questions, each once per seed; intervals are over questions, conditional on the seeds. "
        "Look whether the flow fell, and further in repaired answers than in those still wrong. A dash: no such "
        f"question. {wording.run(settings)}"
    )
    return Table("mechanism", "Flow before and after corruption", numbers, text, caption)
