"""Does the trigger pick the right questions?"""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.studies import trigger_quality
from dpc.config.slices import ReportStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure

_TARGETS = (("broken", "the prompt broke it"), ("wrong", "wrong answers"))
_SPLITS = (("calibration", "--"), ("test", "-"))


@figure(
    category="6 Evidence",
    caption=(
        "Does the trigger pick the right questions? Look for curves well above the dotted lines, which show firing "
        "at random."
    ),
    tables=("evidence",),
)
def trigger(tables: Tables, settings: ReportStage) -> Drawing:
    """Draw the trigger's ROC and precision-recall curves."""
    rows = tables.stacked("evidence")
    quality = trigger_quality.quality(rows, settings.statistics.confidence)
    return draw(trigger_quality.curves(rows), quality, settings, tables.luck())


def draw(curves: pd.DataFrame, quality: pd.DataFrame, settings: ReportStage, luck: str = "") -> Drawing:
    """Draw ROC and precision-recall curves of the trigger, per target, seed and split.

    `curves` has columns target, split, seed, false_rate, recall, precision, fired (the point at the seed's R) and
    at_random; `quality` is the cell's trigger quality.
    """
    figure = drawing.new_figure(5.4)
    panels = figure.subplots(2, 2)
    for row, (target, label) in enumerate(_TARGETS):
        here = curves[curves["target"] == target]
        for axes, (x, y), kind in zip(panels[row], (("false_rate", "recall"), ("recall", "precision")),
                                      ("roc_auc", "pr_auc"), strict=True):  # fmt: skip
            _curves(axes, here, x, y, settings)
            _chance(axes, here, kind, settings)
            axes.set_title(f"{'abcd'[2 * row + (kind == 'pr_auc')]}  {label}: {_area(quality, target, kind)}")
    for axes in panels[:, 0]:
        axes.set(xlabel="share of the other questions that fire", ylabel="share of these that fire (recall)")
    for axes in panels[:, 1]:
        axes.set(xlabel="share of these that fire (recall)", ylabel="share of fired that are of\nthe kind (precision)")
    _legend(panels[0, 1], settings)
    return drawing.finish(figure, luck + _caption(quality, settings))


def _curves(axes: Axes, curves: pd.DataFrame, x: str, y: str, settings: ReportStage) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if curves.empty:
        drawing.say(axes, "no question at hand")
    for number, seed in enumerate(settings.prompt_seeds):
        colour, marker = colours.series_look(number)
        for split, style in _SPLITS:
            rows = curves[(curves["seed"] == seed) & (curves["split"] == split)]
            faint = 1.0 if split == "test" else 0.55
            axes.plot(rows[x], rows[y], style, color=colour, linewidth=1.1, alpha=faint)
            chosen = rows[rows["fired"].astype(bool)]
            face = colour if split == "test" else "white"
            axes.plot(chosen[x], chosen[y], marker, color=colour, markerfacecolor=face, markersize=5, zorder=4)


def _measure(quality: pd.DataFrame, target: str, measure: str, split: str = "test") -> dict[Any, Any] | None:
    rows = quality[(quality["target"] == target) & (quality["measure"] == measure) & (quality["split"] == split)]
    return rows.iloc[0].to_dict() if len(rows) else None


def _area(quality: pd.DataFrame, target: str, measure: str) -> str:
    found = _measure(quality, target, measure)
    if found is None or found["note"]:
        return "too little data" if found is not None else wording.NOT_ESTIMABLE
    return f"area {wording.interval(found['value'], found['low'], found['high'])}"


def _chance(axes: Axes, curves: pd.DataFrame, kind: str, settings: ReportStage) -> None:
    """Draw what firing at random would give: of precision, each seed's own on test."""
    if kind == "roc_auc":
        axes.plot([0, 1], [0, 1], ":", color=colours.GREY, linewidth=0.8)
        return
    levels = curves[curves["split"] == "test"].groupby("seed")["at_random"].first().dropna()
    for number, seed in enumerate(settings.prompt_seeds):
        if seed in levels.index:
            colour = colours.series_look(number)[0]
            axes.axhline(levels[seed], linestyle=":", color=colour, linewidth=1.0)


def _legend(axes: Axes, settings: ReportStage) -> None:
    for number, seed in enumerate(settings.prompt_seeds):
        colour, marker = colours.series_look(number)
        axes.plot([], [], "-", marker=marker, color=colour, markersize=5, label=f"seed {seed}")
    axes.plot([], [], "-", color=colours.BLACK, label="test")
    axes.plot([], [], "--", color=colours.BLACK, alpha=0.55, label="calibration")
    axes.plot([], [], ":", color=colours.GREY, label="at random")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _caption(quality: pd.DataFrame, settings: ReportStage) -> str:
    told = []
    for target, label in _TARGETS:
        base = _measure(quality, target, "base_rate")
        if base is not None:
            told.append(f"{label} {base['positives']} of {base['questions']}")
    return (
        "Does the trigger pick the right questions? Look for curves well above the dotted lines, which show firing "
        "at random (b and d: one line per seed, the share of these questions among the eligible test questions). "
        "Eligible questions are ranked by their share of affected tokens; those without an answer, or too short, "
        "are not eligible. Markers show each seed's R (filled on test, open on calibration, where R was chosen; "
        "none where DPC never fires). Above: questions the prompt broke (right without it, wrong with it); below: "
        f"all questions that prompt tuning gets wrong. Different test questions: {', '.join(told)}; fewer than 30 "
        f"are too little data. Areas are means over seeds with {wording.level(settings)} intervals over questions, "
        f"conditional on the seeds. {wording.run(settings)}"
    )
