"""Whether it helps: the threshold's choice on calibration, and accuracy by plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dpc.config.slices import FiguresStage, ReportStage
from dpc.plans.declaration import PLANS, in_order
from dpc.plans.declaration import label as plan_label
from dpc.report import captions, drawing
from dpc.report.drawing import Drawing

_LINE_STYLES = ("-", "--", "-.", ":")


def thresholds(curves: Sequence[pd.DataFrame], settings: FiguresStage) -> Drawing:
    """Draw the net gain on calibration against R, one line per seed, and mark the R that was chosen."""
    figure = drawing.new_figure(2.7)
    axes = figure.add_subplot()
    axes.axhline(0, color=drawing.GREY, linewidth=0.8)
    for seed, curve in enumerate(curves):
        share = chosen(curve, settings)
        told = "never fires" if share is None else f"R = {share:g}"
        _curve(axes, curve.sort_values("share"), seed, f"seed {settings.prompt_seeds[seed]}: {told}")
    axes.set(
        xlabel="R: share of affected tokens above which DPC fires",
        ylabel="net gain on calibration\n(fixed − broken)",
    )
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if not any(len(curve) for curve in curves):
        drawing.say(axes, "no value of R was tried")
    return drawing.finish(figure, _thresholds_caption(curves, settings))


def _curve(axes: Axes, curve: pd.DataFrame, seed: int, label: str) -> None:
    colour, marker = drawing.series_look(seed)
    style = _LINE_STYLES[seed % len(_LINE_STYLES)]
    x, y = curve["share"].to_numpy(), curve["net"].to_numpy()
    axes.plot(x, y, style, marker=marker, color=colour, label=label, markersize=3.5)
    best = curve[curve["chosen"].astype(bool)]
    if len(best):
        axes.plot(best["share"], best["net"], marker, color=colour, markersize=10, markerfacecolor="none")


def chosen(curve: pd.DataFrame, settings: FiguresStage) -> float | None:
    """Return the R in use: fixed in the settings, or chosen on the curve; None where DPC never fires."""
    if settings.trigger.share != "fitted":
        return float(settings.trigger.share)
    rows = curve[curve["chosen"].astype(bool)]
    return float(rows["share"].iloc[0]) if len(rows) else None


def _thresholds_caption(curves: Sequence[pd.DataFrame], settings: FiguresStage) -> str:
    never = sum(chosen(curve, settings) is None for curve in curves)
    trigger = settings.trigger
    rule = "chosen" if trigger.share == "fitted" else f"set in advance (R = {trigger.share:g})"
    tried = captions.count_range([len(curve) for curve in curves])
    return (
        "Look for a curve that stays above 0 around its marker: a lone peak is luck, and below 0 DPC breaks more than "
        f"it fixes. Fixed minus broken calibration questions if DPC fired above R, for {tried} values of R. Large open "
        f"markers: the R that was {rule}. Seeds that never fire, because no R gained: {never} of "
        f"{len(curves)}. {captions.method(settings)} {captions.run(settings)}"
    )


def pool_plans(evaluations: Sequence[pd.DataFrame], accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return one row per plan, in fixed order: means over seeds, the seeds' own accuracies in `seeds`.

    `idle` counts the seeds under which a plan never fires. Intervals are those of the recipe's `accuracies` (see
    `main_tables.py`); a plan that is not in there, an oracle of many tries, keeps the mean of its seeds'.
    """
    rows = pd.concat(list(evaluations), ignore_index=True)
    pooled = rows.assign(idle=rows["fire_rate"] == 0).groupby("plan").agg(
        accuracy=("accuracy", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        seeds=("accuracy", list),
        questions=("questions", "max"),
        idle=("idle", "sum"),
    )  # fmt: skip
    pooled.update(accuracies.set_index("plan")[["low", "high"]].astype(float))
    return pooled.loc[in_order(pooled.index)]


def plans(evaluations: Sequence[pd.DataFrame], accuracies: pd.DataFrame, settings: FiguresStage) -> Drawing:
    """Draw accuracy by plan for one cell; `evaluations` holds one table per seed, `accuracies` is of the cell."""
    pooled = pool_plans(evaluations, accuracies)
    figure = drawing.new_figure(0.7 + 0.24 * max(3, len(pooled)))
    axes = figure.add_subplot()
    _plan_bars(axes, pooled, list(pooled.index), settings)
    axes.set_yticks(range(len(pooled)), map(plan_label, pooled.index))
    return drawing.finish(figure, _plans_caption([pooled], settings))


def overview(cells: Mapping[str, Sequence[pd.DataFrame]], accuracies: pd.DataFrame, settings: ReportStage) -> Drawing:
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
    for axes, (recipe, table) in zip(panels, pooled.items(), strict=True):
        _plan_bars(axes, table, names, settings)
        axes.set_title(f"Recipe {recipe}", pad=14)
    panels[0].set_yticks(range(len(names)), map(plan_label, names))
    return drawing.finish(figure, _plans_caption(list(pooled.values()), settings))


def _plan_bars(axes: Axes, pooled: pd.DataFrame, names: list[str], settings: ReportStage) -> None:
    rows: dict[Any, dict[Any, Any]] = pooled.dropna(subset="accuracy").to_dict("index")
    for y, name in enumerate(names):
        if name not in rows:
            axes.text(2, y, "not evaluated", va="center", style="italic", color=drawing.GREY, fontsize=6.5)
            continue
        _plan_bar(axes, y, rows[name], name, PLANS[name].is_oracle)
        _idle_note(axes, y, rows[name], name)
    if "prompt_tuning" in rows:
        axes.axvline(100 * rows["prompt_tuning"]["accuracy"], color=drawing.BLACK, linewidth=0.7, linestyle=":")
    axes.annotate("mean (%)", (1, 1), (4, 2), "axes fraction", "offset points", fontsize=6.5)
    chance = captions.chance(settings)
    if chance > 0:
        axes.axvline(100 * chance, color=drawing.RED, linewidth=0.9, linestyle="--", gid="chance")
        axes.annotate("chance", (100 * chance, 1), (0, 2), ("data", "axes fraction"), "offset points",
                      ha="center", fontsize=6.5, color=drawing.RED)  # fmt: skip
    axes.set(xlim=(0, 100), xlabel="accuracy (%)", ylim=(len(names) - 0.4, -0.6))


def _idle_note(axes: Axes, y: int, row: dict[Any, Any], name: str) -> None:
    """Say under how many seeds a plan does nothing, so that its bar is prompt tuning's."""
    idle, seeds = int(row["idle"]), len(row["seeds"])
    if not idle or name in ("no_prompt", "prompt_tuning"):
        return
    what = "no head confirmed" if name == "act" else "never fires"
    where = "" if idle == seeds else f"\nunder {idle} of {seeds} seeds"
    shown = [100 * share for share in (*row["seeds"], row["low"], row["high"]) if not np.isnan(share)]
    is_left = min(shown) > 100 - max(shown)  # the wider room free of marks
    x, side, colour = (
        (1.5, "left", "white" if name == "dpc" else drawing.BLACK) if is_left else (99, "right", drawing.BLACK)
    )
    axes.text(x, y, what + where, ha=side, va="center", fontsize=5.8, linespacing=1.0, color=colour)


def _plan_bar(axes: Axes, y: int, row: dict[Any, Any], name: str, oracle: bool) -> None:
    colour = {"dpc": drawing.BLUE, "prompt_tuning": "#5C5C5C", "no_prompt": "#A0A0A0"}.get(name, drawing.SKY)
    value, low, high = 100 * row["accuracy"], 100 * row["low"], 100 * row["high"]
    look: dict[str, Any] = (
        {"facecolor": "white", "hatch": "/////", "edgecolor": drawing.PURPLE} if oracle else {"color": colour}
    )
    axes.barh(y, value, height=0.68, linewidth=0.8, **look)
    if not np.isnan(low) and not np.isnan(high):
        axes.plot([low, high], [y, y], color=drawing.BLACK, linewidth=1.0, solid_capstyle="butt", gid=f"whisker {name}")
    seeds = 100 * np.asarray(row["seeds"], float)
    axes.plot(
        seeds,
        np.full(len(seeds), y),
        "o",
        color="white",
        markeredgecolor=drawing.BLACK,
        markersize=3.2,
        markeredgewidth=0.7,
    )
    axes.annotate(f"{value:.1f}", (1, y), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=7)


def _chance_note(settings: ReportStage) -> str:
    chance = captions.chance(settings)
    return f"Dashed line: {100 * chance:g} %, what guessing reaches. " if chance > 0 else ""


def _plans_caption(pooled: Sequence[pd.DataFrame], settings: ReportStage) -> str:
    counts = [int(count) for table in pooled for count in table["questions"].dropna()]
    oracle = any(PLANS[str(name)].is_oracle for table in pooled for name in table.index)
    note = (
        "Hatched: an oracle that looks at test gold, an upper bound and no method (with several tries per question: "
        "whiskers are the mean over seeds of each seed's interval). "
    )
    return (
        "Look for DPC's dark bar beyond the dotted line, prompt tuning, and for controls that get as far: what they "
        f"reach too is not DPC's. Accuracy by plan over {captions.count_range(counts)} test questions: mean over "
        f"{captions.counted(len(settings.prompt_seeds), 'seed')}, circles are seeds, whiskers the "
        f"{captions.level(settings)} interval over questions, conditional on these seeds, as in the main table. DPC's "
        "gains are paired, question by question: they stand with their intervals in the claims table, not in the "
        f"distance of whiskers. {_chance_note(settings)}{note * oracle}{captions.method(settings)} "
        f"{captions.run(settings)}"
    )
