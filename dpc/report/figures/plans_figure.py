"""Accuracy by plan: DPC beside its controls."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dpc.config.slices import FiguresStage
from dpc.plans.declaration import label as plan_label
from dpc.report import drawing
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.figures.plan_bars import caption as plans_caption
from dpc.report.figures.plan_bars import plan_bars, pool_plans, span


@figure(
    category="5 Interventions",
    caption=(
        "Accuracy by plan on test questions, read strictly and leniently: DPC beside its controls; white marks are "
        "upper bounds that look at test gold."
    ),
    tables=("evaluation", "outcomes"),
)
def plans(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw accuracy by plan for one cell."""
    return draw(tables.each("evaluation"), tables.accuracies(), settings)


def draw(evaluations: Sequence[pd.DataFrame], accuracies: pd.DataFrame, settings: FiguresStage) -> Drawing:
    """Draw accuracy by plan for one cell; `evaluations` holds one table per seed, `accuracies` is of the cell."""
    pooled = pool_plans(evaluations, accuracies)
    figure = drawing.new_figure(0.7 + 0.24 * max(3, len(pooled)))
    axes = figure.add_subplot()
    plan_bars(axes, pooled, list(pooled.index), settings, span([pooled], settings))
    axes.set_yticks(range(len(pooled)), map(plan_label, pooled.index))
    return drawing.finish(figure, plans_caption({settings.recipes[0]: pooled}, settings))
