"""How well S_IFP separates wrong from right answers, compared with the model's own confidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.wording import Finding, finding


@figure(
    category="3 Prompt tuning analysed",
    caption=(
        "How well S_IFP, raw flow and the model's mean NLL separate wrong from right answers. S_IFP adds something "
        "only if it does better than NLL."
    ),
    tables=("findings",),
)
def confidence(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw how well three scores tell wrong answers from right ones."""
    return draw(tables.each("findings"), settings)


def draw(findings: Sequence[pd.DataFrame], settings: FiguresStage) -> Drawing:
    """Draw how well S_IFP, raw flow and plain NLL tell wrong answers from right ones, per seed."""
    figure = drawing.new_figure(0.9 + 0.14 * len(wording.SCORES) * max(3, len(findings)))
    axes = figure.add_subplot()
    for row, (name, _) in enumerate(wording.SCORES):
        if not any(finding(table, name).known for table in findings):
            axes.text(0.5, row, f" {wording.NOT_ESTIMABLE}", va="center", style="italic", color=colours.GREY)
        for seed, table in enumerate(findings):
            _auc(axes, row, finding(table, name), seed, len(findings))
    axes.axvline(0.5, color=colours.GREY, linewidth=0.8, linestyle="--")
    axes.annotate("chance", (0.5, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=7)
    axes.set_yticks(range(len(wording.SCORES)), [label for _, label in wording.SCORES])
    axes.set(xlabel="AUC for telling wrong answers from right ones", ylim=(len(wording.SCORES) - 0.5, -0.5))
    axes.set_xlim(min(0.3, axes.get_xlim()[0]), 1.0)
    _seed_legend(axes, settings)
    return drawing.finish(figure, _caption(findings, settings))


def _auc(axes: Axes, row: int, found: Finding, seed: int, seeds: int) -> None:
    if not found.known:
        return
    y = row + drawing.dodge(seed, seeds, 0.5)
    if not np.isnan(found.low) and not np.isnan(found.high):
        axes.plot([found.low, found.high], [y, y], color=colours.series_look(seed)[0], linewidth=1.2)
    axes.plot([found.value], [y], colours.series_look(seed)[1], color=colours.series_look(seed)[0], markersize=5)


def _seed_legend(axes: Axes, settings: FiguresStage) -> None:
    for seed, name in enumerate(settings.prompt_seeds):
        axes.plot(
            [], [], colours.series_look(seed)[1], color=colours.series_look(seed)[0], markersize=5, label=f"seed {name}"
        )
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _caption(findings: Sequence[pd.DataFrame], settings: FiguresStage) -> str:
    counts = [
        found.n for table in findings for name, _ in wording.SCORES if (found := finding(table, name)).n is not None
    ]
    return (
        "How well three scores separate wrong from right answers of prompt tuning: area under the ROC curve over "
        f"{wording.count_range(counts)} test instances per seed, with {wording.level(settings)} intervals; 0.5 is "
        "chance. S_IFP is the share of the prompt in the deep flow to the latter half, raw flow is its numerator, "
        "and mean NLL, the model's own confidence, needs no saliency: S_IFP adds something only if it does better. "
        f"{wording.run(settings)}"
    )
