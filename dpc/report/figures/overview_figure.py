"""Accuracy by plan, recipes side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dpc.config.slices import ReportStage
from dpc.plans.declaration import in_order
from dpc.plans.declaration import label as plan_label
from dpc.report import drawing
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.figures.plan_bars import caption as plans_caption
from dpc.report.figures.plan_bars import plan_bars, pool_plans, span


@figure(
    category="1 Main results",
    caption="Accuracy by plan, read strictly and leniently, recipes side by side.",
    tables=("evaluation", "outcomes"),
    of="recipes",
)
def overview(tables: Tables, settings: ReportStage) -> Drawing:
    """Draw accuracy by plan for all recipes of a model and dataset."""
    cells = tables.cells("evaluation")
    return draw({recipe: rows for (_, _, recipe), rows in cells.items()}, tables.accuracies(), settings)


def draw(cells: Mapping[str, Sequence[pd.DataFrame]], accuracies: pd.DataFrame, settings: ReportStage) -> Drawing:
    """Draw accuracy by plan for several recipes side by side.

    `cells` maps each recipe to its `evaluation` tables, one per seed; model and dataset are the same. `accuracies`
    is of all recipes.
    """
    pooled = {
        recipe: pool_plans(tables, accuracies[accuracies["recipe"] == recipe]) for recipe, tables in cells.items()
    }
    names = in_order(name for table in pooled.values() for name in table.index)
    width = max(drawing.WIDTH, 1.8 + 2.0 * len(pooled))
    figure = drawing.new_figure(0.9 + 0.24 * max(3, len(names)), width)
    panels = figure.subplots(1, len(pooled), sharey=True, squeeze=False)[0]
    ends = span(list(pooled.values()), settings)
    for axes, (recipe, table) in zip(panels, pooled.items(), strict=True):
        plan_bars(axes, table, names, settings, ends)
        axes.set_title(f"Recipe {recipe}", pad=14)
    panels[0].set_yticks(range(len(names)), map(plan_label, names))
    return drawing.finish(figure, plans_caption(pooled, settings))
