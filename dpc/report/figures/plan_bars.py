"""Marks of accuracy by plan: what the figures `plans` and `overview` share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.studies.outcomes import WITHOUT_PROMPT
from dpc.config.slices import ReportStage
from dpc.plans.declaration import PLANS, in_order
from dpc.plans.declaration import label as plan_label
from dpc.report import colours, wording

METHODS = ("no_prompt", "prompt_tuning", "act", "dpc")
IDLE_MARK = "†"
_ROOM = 0.06  # of the axis, left free at either end


def pool_plans(evaluations: Sequence[pd.DataFrame], accuracies: pd.DataFrame) -> pd.DataFrame:
    """Return one row per plan, in fixed order: means over seeds, the seeds' own accuracies in `seeds`.

    `idle` counts the seeds under which a plan never fires, `cut` the answers that ended at max_new_tokens. Intervals
    are those of the recipe's `accuracies` (see `Tables.accuracies`); a plan that is not in there, an oracle of many
    tries, keeps the mean of its seeds'.
    """
    rows = pd.concat(list(evaluations), ignore_index=True)
    pooled = rows.assign(idle=rows["fire_rate"] == 0).groupby("plan").agg(
        accuracy=("accuracy", "mean"),
        low=("low", "mean"),
        high=("high", "mean"),
        lenient=("accuracy_lenient", "mean"),
        seeds=("accuracy", list),
        questions=("questions", "max"),
        answers=("questions", "sum"),
        cut=("truncated", "sum"),
        idle=("idle", "sum"),
    )  # fmt: skip
    if WITHOUT_PROMPT in pooled.index:  # the same answers under every seed
        pooled.loc[WITHOUT_PROMPT, ["answers", "cut"]] //= len(evaluations)
    pooled.update(accuracies.set_index("plan")[["low", "high"]].astype(float))
    return pooled.loc[in_order(pooled.index)]


def span(pooled: Sequence[pd.DataFrame], settings: ReportStage) -> tuple[float, float]:
    """Return the ends of an accuracy axis, in percent, that fits all marks of these tables and the line of chance."""
    chance = wording.chance(settings)
    shown = [*([chance] if chance > 0 else [])]
    for table in pooled:
        shown += table[["accuracy", "low", "high", "lenient"]].to_numpy(float).ravel().tolist()
        shown += [share for seeds in table["seeds"] for share in seeds]
    known = 100 * np.asarray([share for share in shown if not np.isnan(share)] or [0.0, 1.0])
    room = _ROOM * max(float(np.ptp(known)), 5.0)
    return float(known.min()) - room, float(known.max()) + room


def plan_bars(
    axes: Axes, pooled: pd.DataFrame, names: list[str], settings: ReportStage, ends: tuple[float, float]
) -> None:
    """Draw a mark per plan, with its interval, its seeds and the lenient reading, between `ends` (see `span`)."""
    rows: dict[Any, dict[Any, Any]] = pooled.dropna(subset="accuracy").to_dict("index")
    for y, name in enumerate(names):
        axes.axhline(y, color=colours.LIGHT, linewidth=0.6, zorder=0)
        if name in rows:
            _plan_mark(axes, y, rows[name], name)
        else:
            place = axes.get_yaxis_transform()
            axes.text(0.02, y, "not evaluated", va="center", style="italic", color=colours.GREY, transform=place)
    if "prompt_tuning" in rows:
        axes.axvline(100 * rows["prompt_tuning"]["accuracy"], color=colours.BLACK, linewidth=0.7, linestyle=":")
    axes.annotate("strict / lenient", (1, 1), (4, 2), "axes fraction", "offset points", fontsize=7)
    chance = wording.chance(settings)
    if chance > 0:
        axes.axvline(100 * chance, color=colours.RED, linewidth=0.9, linestyle="--", gid="chance")
        axes.annotate("chance", (100 * chance, 1), (0, 2), ("data", "axes fraction"), "offset points",
                      ha="center", fontsize=7, color=colours.RED)  # fmt: skip
    axes.set(xlim=ends, xlabel="accuracy (%)", ylim=(len(names) - 0.4, -0.6))


def is_idle(name: str, idle: int) -> bool:
    """Say whether a plan that fires on no question under `idle` seeds is prompt tuning there."""
    return idle > 0 and name not in ("no_prompt", "prompt_tuning")


def _plan_mark(axes: Axes, y: int, row: dict[Any, Any], name: str) -> None:
    colour = colours.PURPLE if PLANS[name].is_oracle else colours.PLANS.get(name, colours.OTHER_PLANS)
    value, low, high, lenient = (100 * row[key] for key in ("accuracy", "low", "high", "lenient"))
    seeds = 100 * np.asarray(row["seeds"], float)
    axes.plot(seeds, np.full(len(seeds), y), "|", color=colours.GREY, markersize=7, markeredgewidth=0.9)
    if not np.isnan(low) and not np.isnan(high):
        axes.plot([low, high], [y, y], color=colours.BLACK, linewidth=1.0, solid_capstyle="butt", gid=f"whisker {name}")
    look: dict[str, Any] = {"markerfacecolor": "none", "markeredgecolor": colours.ORANGE, "markeredgewidth": 1.0}
    axes.plot([lenient], [y], "D", markersize=6.5, gid=f"lenient {name}", **look)
    face = "white" if PLANS[name].is_oracle else colour
    axes.plot([value], [y], "o", color=colour, markerfacecolor=face, markersize=5.0, gid=f"mean {name}")
    mark = f" {IDLE_MARK}" * is_idle(name, int(row["idle"]))
    axes.annotate(
        f"{value:.1f} / {lenient:.1f}{mark}", (1, y), (4, 0), ("axes fraction", "data"), "offset points", va="center",
        fontsize=7,
    )  # fmt: skip


def _idle_note(pooled: Mapping[str, pd.DataFrame]) -> str:
    """Return the sentence on the plans that are prompt tuning under some seeds."""
    told = []
    for recipe, table in pooled.items():
        groups: dict[str, list[str]] = {}
        for name, row in table.iterrows():
            if is_idle(str(name), int(row["idle"])):
                what = "no head confirmed" if name == "act" else "no question fires"
                where = f"{what} under {row['idle']} of {wording.counted(len(row['seeds']), 'seed')}"
                groups.setdefault(where, []).append(plan_label(str(name)))
        of = f" ({recipe})" * (len(pooled) > 1)
        told += [f"{', '.join(names)}: {where}{of}" for where, names in groups.items()]
    return f"{IDLE_MARK} Prompt tuning's answers stand there. {'; '.join(told)}. " if told else ""


def cut_note(pooled: Mapping[str, pd.DataFrame]) -> str:
    """Return the sentence on the methods' answers that ended at max_new_tokens."""
    told, answers = [], 0
    for name in METHODS:
        rows = [table.loc[name] for table in pooled.values() if name in table.index]
        rows = rows[:1] if name == WITHOUT_PROMPT else rows  # the same answers under every recipe
        cut, of = (sum(int(str(row[key])) for row in rows) for key in ("cut", "answers"))
        answers += of
        told += [f"{plan_label(name)} {cut} of {of}"] if cut else []
    if not told:
        return "No answer of the methods was cut short at max_new_tokens. " if answers else ""
    return f"Cut short at max_new_tokens: {', '.join(told)} answers. "


def caption(pooled: Mapping[str, pd.DataFrame], settings: ReportStage) -> str:
    """Return the caption of marks by plan; `pooled` is by recipe."""
    counts = [int(count) for table in pooled.values() for count in table["questions"].dropna()]
    oracle = any(PLANS[str(name)].is_oracle for table in pooled.values() for name in table.index)
    chance = wording.chance(settings)
    line = f"Dashed line: {100 * chance:g} %, what guessing reaches. " if chance > 0 else ""
    note = (
        "White, purple edge: an oracle that looks at test gold, an upper bound and no method (with several tries per "
        "question: whiskers are the mean over seeds of each seed's interval). "
    )
    return (
        "Look for DPC's mark to the right of the dotted line (prompt tuning). If a control matches DPC, the gain "
        f"cannot be credited to DPC. Accuracy by plan on {wording.count_range(counts)} test questions. Filled: read "
        f"strictly, mean over {wording.counted(len(settings.prompt_seeds), 'seed')}; grey ticks: seeds; whiskers: "
        f"{wording.level(settings)} interval over questions, conditional on these seeds, as in the main table. Orange "
        "diamonds: read leniently (the last text that could be an answer counts). A model without a prompt was never "
        "told the form of an answer: compare it by its diamond. DPC's gains are paired, question by question: they are "
        f"in the claims table, not in the distance of whiskers. {_idle_note(pooled)}{cut_note(pooled)}{line}"
        f"{note * oracle}{wording.run(settings)}"
    )
