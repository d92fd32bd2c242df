"""The mechanism: flow from the prompt before and after corruption, and whether it falls further in repaired answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from dpc.analysis.studies.flow_change import fired_rows, goes_with_repair, summary
from dpc.config.slices import FiguresStage
from dpc.plans.declaration import label as plan_label
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.table_text import (
    percent,
)

_LOOKS = {
    "repaired": (colours.GREEN, "o"),
    "still wrong": (colours.RED, "x"),
    "still right": (colours.BLUE, "s"),
    "broken": (colours.ORANGE, "^"),
}
_READINGS = {"flow": "raw flow", "s_ifp": "S_IFP", "nll": "mean NLL"}


@dataclass(frozen=True)
class Comparison:
    """Flow before and after corruption, the seeds together, and what `flow_change` reads off it."""

    whole: pd.DataFrame
    """Every question."""
    fired: pd.DataFrame
    """`fired_rows`."""
    falls: pd.DataFrame
    """`summary`, per plan and outcome."""
    repair: pd.DataFrame
    """`goes_with_repair`, per plan and reading."""


@figure(
    category="5 Interventions",
    caption=(
        "After corruption: does the flow from the prompt to the latter half of the rationale fall, and more in "
        "repaired answers?"
    ),
    tables=("mechanism",),
    note=("Below the dashed line the flow fell; repaired answers should have fallen further than those still wrong."),
)
def mechanism(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw the mechanism of one cell."""
    whole, level = tables.stacked("mechanism"), settings.statistics.confidence
    compared = Comparison(whole, fired_rows(whole), summary(whole, level), goes_with_repair(whole, level))
    return draw(compared, settings)


def draw(compared: Comparison, settings: FiguresStage) -> Drawing:
    """Draw flow before against after, how often it fell by what became of the answer, and what fired."""
    whole, fired = compared.whole, compared.fired
    plans = list(dict.fromkeys(whole["plan"]))
    shown = whole[whole["plan"] == plans[0]] if plans else whole
    made = drawing.new_figure(3.0)
    left, middle, right = made.subplots(1, 3, width_ratios=(1.15, 1.15, 0.9))
    _scatter(left, fired[fired["plan"].isin(plans[:1])])
    _falls(middle, compared.falls, plans)
    _counts(right, shown)
    return drawing.finish(made, _caption(compared, plans, settings))


def _scatter(axes: Axes, fired: pd.DataFrame) -> None:
    axes.set_title("a  Flow before and after")
    fired = fired[_has_flow(fired)]
    if fired.empty:
        drawing.say(axes, "no fired question\nwas measured")
        axes.set(xticks=[], yticks=[])
        return
    for outcome, (colour, marker) in _LOOKS.items():
        rows = fired[fired["outcome"] == outcome]
        if len(rows):
            axes.plot(
                rows["flow_latter_before"], rows["flow_latter_after"], marker, color=colour, markersize=3, alpha=0.6,
                markeredgewidth=0.8 if marker == "x" else 0, label=f"{outcome} ({len(rows)})", rasterized=True,
                zorder=2 + 1 / len(rows),  # the rarest on top
            )  # fmt: skip
    both = np.concatenate([fired["flow_latter_before"], fired["flow_latter_after"]])
    ends = (both.min() / 1.2, both.max() * 1.2)
    axes.plot(ends, ends, color=colours.BLACK, linewidth=0.8, linestyle="--", zorder=1)
    axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(drawing.power_of_ten))
        axis.set_minor_formatter(NullFormatter())
    axes.set(xlabel="flow from the prompt, before", ylabel="after (below the line: it fell)")
    axes.legend(loc="upper left", fontsize=7, handletextpad=0.2, borderpad=0.3)


def _has_flow(fired: pd.DataFrame) -> pd.Series[bool]:
    """Say which questions stand on axes of logarithms."""
    return (fired["flow_latter_before"] > 0) & (fired["flow_latter_after"] > 0)


def _falls(axes: Axes, falls: pd.DataFrame, plans: list[str]) -> None:
    axes.set_title("b  Answers whose flow fell")
    groups, step = ["all", *_LOOKS], min(0.22, 0.8 / max(len(plans), 1))
    for number, plan in enumerate(plans):
        rows = falls[falls["plan"] == plan].set_index("outcome").reindex(groups)
        x = np.arange(len(groups)) + (number - (len(plans) - 1) / 2) * step
        colour, marker = colours.series_look(number)
        axes.vlines(x, 100 * rows["low"], 100 * rows["high"], color=colour, linewidth=1.2)
        axes.plot(x, 100 * rows["fell"], marker, color=colour, markersize=4.5, label=plan_label(plan))
    axes.axhline(50, color=colours.GREY, linewidth=0.8, linestyle="--")
    axes.set(
        ylim=(-3, 103 + 7.5 * max(len(plans), 2)), xlim=(-0.6, len(groups) - 0.4), ylabel="share whose flow fell (%)"
    )
    axes.set_yticks((0, 25, 50, 75, 100))
    axes.set_xticks(range(len(groups)), [name.replace(" ", "\n") for name in groups])
    axes.tick_params(axis="x", labelsize=7)
    if falls["fell"].isna().all():
        drawing.say(axes, "no fired question\nwas measured", 0.7)
    if plans:
        axes.legend(loc="upper left", fontsize=7, ncols=1)


def _counts(axes: Axes, shown: pd.DataFrame) -> None:
    axes.set_title("c  What fired")
    axes.set(xlim=(0, 2), ylim=(2, 0))
    total = max(len(shown), 1)
    for y, fires in enumerate((True, False)):
        for x, right in enumerate((False, True)):
            rows = shown[(shown["fired"] == fires) & (shown["correct_before"] == right)]
            changed = int((rows["correct_after"] != right).sum())
            axes.fill_between(
                [x, x + 1], y, y + 1, color=colours.BLUE, alpha=0.08 + 0.5 * len(rows) / total, linewidth=0
            )
            text = f"{len(rows)}\n({percent(len(rows) / total)} %)"
            if fires:
                text += f"\n{changed}\n{'broken' if right else 'repaired'}"
            axes.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7)
    axes.set_xticks((0.5, 1.5), ("was wrong", "was right"))
    axes.set_yticks((0.5, 1.5), ("fired", "did not"), rotation=90, va="center")
    axes.tick_params(length=0)
    axes.grid(visible=False)


def _caption(compared: Comparison, plans: list[str], settings: FiguresStage) -> str:
    first = plan_label(plans[0]) if plans else "no plan"
    found = compared.repair[compared.repair["plan"].isin(plans[:1])].set_index("reading")
    without = int((~_has_flow(compared.fired[compared.fired["plan"].isin(plans[:1])])).sum())
    left_out = f", but for {without} without any flow before or after" if without else ""
    found = found[found["auc"].notna()]
    areas = "; ".join(
        f"{label} {wording.interval(found.loc[name, 'auc'], found.loc[name, 'low'], found.loc[name, 'high'])}"
        for name, label in _READINGS.items()
        if name in found.index
    )
    goes = (
        f"Area under the ROC curve of the fall for repair, among wrong answers of {first}, mean over seeds that have "
        f"both kinds: {areas}. Above 0.5: repaired answers fall further; mean NLL is the baseline that needs no "
        "saliency. "
        if areas
        else ""
    )
    return (
        "Does corruption reduce the flow from the prompt to the latter half of the rationale, and is the fall "
        f"larger in repaired answers? (a) Raw flow of fired questions under {first}, before and under the corrupted "
        f"prompt, each on the rationale generated there, once per seed{left_out}; deep layers "
        f"({wording.layer_setting(settings.flow.deep_layers, None)}). (b) Share of fired questions whose flow fell, "
        "by what became of the answer. If the paper is right, the share is larger for repaired answers than for "
        "those still wrong, and larger for the plan than for its random control. (c) Questions, once per seed, by "
        f"whether {first} fired and whether prompt tuning was wrong. {goes}{wording.level(settings)} intervals over "
        f"questions, conditional on the seeds, under however many of them a question fired. {wording.run(settings)}"
    )
