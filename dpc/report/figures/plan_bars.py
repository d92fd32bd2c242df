"""Bars of accuracy by plan: what the figures `plans` and `overview` share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.config.slices import ReportStage
from dpc.plans.declaration import PLANS, in_order
from dpc.report import captions, colours


def pool_plans(evaluations: Sequence[pd.DataFrame], accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return one row per plan, in fixed order: means over seeds, the seeds' own accuracies in `seeds`.

    `idle` counts the seeds under which a plan never fires. Intervals are those of the recipe's `accuracies` (see
    `Tables.accuracies`); a plan that is not in there, an oracle of many tries, keeps the mean of its seeds'.
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


def plan_bars(axes: Axes, pooled: pd.DataFrame, names: list[str], settings: ReportStage) -> None:
    """Draw a bar per plan, with its interval and the seeds' own accuracies."""
    rows: dict[Any, dict[Any, Any]] = pooled.dropna(subset="accuracy").to_dict("index")
    for y, name in enumerate(names):
        if name not in rows:
            axes.text(2, y, "not evaluated", va="center", style="italic", color=colours.GREY, fontsize=6.5)
            continue
        _plan_bar(axes, y, rows[name], name, PLANS[name].is_oracle)
        _idle_note(axes, y, rows[name], name)
    if "prompt_tuning" in rows:
        axes.axvline(100 * rows["prompt_tuning"]["accuracy"], color=colours.BLACK, linewidth=0.7, linestyle=":")
    axes.annotate("mean (%)", (1, 1), (4, 2), "axes fraction", "offset points", fontsize=6.5)
    chance = captions.chance(settings)
    if chance > 0:
        axes.axvline(100 * chance, color=colours.RED, linewidth=0.9, linestyle="--", gid="chance")
        axes.annotate("chance", (100 * chance, 1), (0, 2), ("data", "axes fraction"), "offset points",
                      ha="center", fontsize=6.5, color=colours.RED)  # fmt: skip
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
        (1.5, "left", "white" if name == "dpc" else colours.BLACK) if is_left else (99, "right", colours.BLACK)
    )
    axes.text(x, y, what + where, ha=side, va="center", fontsize=5.8, linespacing=1.0, color=colour)


def _plan_bar(axes: Axes, y: int, row: dict[Any, Any], name: str, oracle: bool) -> None:
    colour = colours.PLANS.get(name, colours.OTHER_PLANS)
    value, low, high = 100 * row["accuracy"], 100 * row["low"], 100 * row["high"]
    look: dict[str, Any] = (
        {"facecolor": "white", "hatch": "/////", "edgecolor": colours.PURPLE} if oracle else {"color": colour}
    )
    axes.barh(y, value, height=0.68, linewidth=0.8, **look)
    if not np.isnan(low) and not np.isnan(high):
        axes.plot([low, high], [y, y], color=colours.BLACK, linewidth=1.0, solid_capstyle="butt", gid=f"whisker {name}")
    seeds = 100 * np.asarray(row["seeds"], float)
    axes.plot(
        seeds,
        np.full(len(seeds), y),
        "o",
        color="white",
        markeredgecolor=colours.BLACK,
        markersize=3.2,
        markeredgewidth=0.7,
    )
    axes.annotate(f"{value:.1f}", (1, y), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=7)


def _chance_note(settings: ReportStage) -> str:
    chance = captions.chance(settings)
    return f"Dashed line: {100 * chance:g} %, what guessing reaches. " if chance > 0 else ""


def caption(pooled: Sequence[pd.DataFrame], settings: ReportStage) -> str:
    """Return the caption of bars by plan."""
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
