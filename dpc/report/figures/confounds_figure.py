"""What the readings say about errors, given confidence, length and steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.studies import confounds as measuring
from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure


@figure(
    category="6 Evidence",
    caption=(
        "Is it more than confidence? Look for squares clear of 0: what the readings say beside NLL, length and steps."
    ),
    tables=("evidence",),
)
def confounds(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw each reading's correlation with error, alone and given the confounds."""
    rows = measuring.confounds(tables.stacked("evidence"), settings.statistics.confidence)
    return draw(rows, settings, tables.luck())


def draw(table: pd.DataFrame, settings: FiguresStage, luck: str = "") -> Drawing:
    """Draw each reading's correlation with error, alone and given the confounds; `table` is the cell's."""
    figure = drawing.new_figure(0.9 + 0.36 * max(3, len(table)))
    axes = figure.add_subplot()
    looks = (("raw", -0.14, colours.GREY, "o", "alone"),
             ("partial", 0.14, colours.BLUE, "s", "given NLL, length and steps"))  # fmt: skip
    for name, lift, colour, marker, label in looks:
        for y, row in enumerate(table.to_dict("records")):
            _whisker(axes, y + lift, row, name, colour, marker)
        axes.plot([], [], marker, color=colour, markersize=5, label=label)
    for y, row in enumerate(table.to_dict("records")):
        if np.isnan(row["raw"]):
            axes.text(0, y, f" {wording.NOT_ESTIMABLE}", va="center", style="italic", color=colours.GREY)
    axes.axvline(0, color=colours.GREY, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(table)), [wording.READINGS[name] for name in table["reading"]])
    axes.set(xlabel="rank correlation with a wrong answer", ylim=(len(table) - 0.5, -0.5))
    axes.set_xlim(min(-0.3, axes.get_xlim()[0]), max(0.3, axes.get_xlim()[1]))
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return drawing.finish(figure, luck + _caption(table, settings))


def _whisker(axes: Axes, y: float, row: dict[Any, Any], name: str, colour: str, marker: str) -> None:
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if not np.isnan(low):
        axes.plot([low, high], [y, y], color=colour, linewidth=1.2)
    axes.plot([value], [y], marker, color=colour, markersize=5)


def _caption(table: pd.DataFrame, settings: FiguresStage) -> str:
    wrong, questions = (int(table[name].max()) if len(table) else 0 for name in ("wrong", "questions"))
    first = table.loc[table["reading"] == "accumulation", "first"]
    share = f"{100 * float(first.iloc[0]):.1f} %" if len(first) and not np.isnan(first.iloc[0]) else "an unknown share"
    return (
        "Is it more than confidence? Look at the squares: a reading says something of its own about errors only where "
        "its square lies clear of 0. Rank correlation with a wrong answer, alone and freed of the model's mean NLL, "
        f"the rationale's length and the question's steps: {questions} test questions, {wrong} of them wrong under "
        f"some seed; means over seeds, {wording.level(settings)} intervals over questions, conditional on the seeds. "
        f"The prompt's first vector, at {wording.first_vector(settings)}, is located in {share} of the rationales. "
        f"{wording.position_0(settings)}{wording.saliency(settings)} {wording.run(settings)}"
    )
