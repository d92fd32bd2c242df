"""What the two analyses found: flow change given accumulation, S_IFP of right and wrong, flow along the rationale."""

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
from dpc.tasks.base import AT_CHANCE

_GROUPS = (("right", colours.RIGHT, "o", "-"), ("wrong", colours.WRONG, "s", "--"))
_GLYPHS = dict(zip(colours.SEED_MARKERS, "●■▲◆▼✚✖", strict=True))
_CHANGES = ("p_change_given_accumulation", "p_change_given_none")
_NOTES = 4  # lines above each panel


@figure(
    category="3 Prompt tuning analysed",
    caption=(
        "The analysis of prompt tuning: flow change given accumulation, S_IFP of right and wrong answers, and "
        "flow along the rationale."
    ),
    tables=("findings", "evidence", "positions"),
)
def analysis(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw the analysis of prompt tuning; single instances are the first seed's."""
    return draw(tables.each("findings"), tables.first("evidence"), tables.first("positions"), settings)


def draw(
    findings: Sequence[pd.DataFrame], instances: pd.DataFrame, positions: pd.DataFrame, settings: FiguresStage
) -> Drawing:
    """Draw the analysis of prompt tuning in three panels.

    `findings` holds one table per seed; `instances` and `positions` are the first seed's.
    """
    figure = drawing.new_figure(3.3)
    left, middle, right = figure.subplots(1, 3, width_ratios=(0.9, 1.1, 1.2))
    _change_panel(left, findings, settings)
    separation = instances[instances["in_separation"].astype(bool)]
    _separation_panel(middle, separation, findings[0], settings)
    _position_panel(right, positions, findings[0], settings)
    return drawing.finish(figure, _caption(findings, instances, positions, settings))


def _change_panel(axes: Axes, findings: Sequence[pd.DataFrame], settings: FiguresStage) -> None:
    notes = [
        _first_seed(settings),
        f"φ {_short(finding(findings[0], 'phi'))}",
        f"Fisher {wording.p_value(finding(findings[0], 'fisher').p)}",
        *([f"markers: seeds {_seed_marks(settings)}"] if 1 < len(findings) < 5 else []),
    ]
    drawing.heading(axes, "a  Flow change", notes, _NOTES)
    for x, name in enumerate(_CHANGES):
        if not any(finding(table, name).known for table in findings):
            axes.text(x, 0.5, wording.NOT_ESTIMABLE.replace(" ", "\n"), ha="center", va="center", style="italic")
        for seed, table in enumerate(findings):
            _point(axes, x, finding(table, name), seed, len(findings))
    axes.set(xlim=(-0.6, 1.6), ylim=(-0.03, 1.03), ylabel="share of instances whose flow changed")
    axes.set_xticks((0, 1), ("accumulation", "none"))
    axes.grid(axis="y")


def _first_seed(settings: FiguresStage) -> str:
    """Return the note above numbers that are one seed's."""
    return f"seed {settings.prompt_seeds[0]}:"


def _short(found: Finding) -> str:
    return wording.interval(found.value, found.low, found.high)


def _point(axes: Axes, x: float, found: Finding, seed: int, seeds: int) -> None:
    """Draw one seed's value with its interval, beside those of the other seeds; colours are for right and wrong."""
    if not found.known:
        return
    place = x + drawing.dodge(seed, seeds, 0.5)
    if not np.isnan(found.low) and not np.isnan(found.high):
        axes.plot([place, place], [found.low, found.high], color=colours.BLACK, linewidth=1.2)
    axes.plot([place], [found.value], colours.series_look(seed)[1], color=colours.BLACK, markersize=5)


def _seed_marks(settings: FiguresStage) -> str:
    """Return the legend of the seeds' markers as text: `● 0 ■ 1`."""
    return " ".join(
        f"{_GLYPHS[colours.series_look(seed)[1]]} {name}" for seed, name in enumerate(settings.prompt_seeds)
    )


def _separation_panel(axes: Axes, instances: pd.DataFrame, findings: pd.DataFrame, settings: FiguresStage) -> None:
    notes = [
        _first_seed(settings),
        *(f"AUC {label} {_short(finding(findings, name))}" for name, label in wording.SCORES),
    ]
    drawing.heading(axes, "b  S_IFP of right and wrong", notes, _NOTES)
    right = instances["correct"].astype(bool)
    ticks = []
    for x, ((group, colour, marker, _), rows) in enumerate(
        zip(_GROUPS, (instances[right], instances[~right]), strict=True)
    ):
        values = rows["s_ifp"].dropna().to_numpy(float)
        ticks.append(f"{group}\n(n = {len(values)})")
        _box_and_points(axes, x, values, group, colour, marker)
    if finding(findings, "auc_s_ifp").at_chance:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.4 * (high - low))  # above the points, and above what stands for a missing group
        drawing.say(axes, AT_CHANCE.replace(": ", ":\n").replace(" is not", "\nis not"), 0.87)
    axes.set_xticks((0, 1), ticks)
    axes.set(xlim=(-0.6, 1.6), ylabel="S_IFP: share of the flow from p")


def _box_and_points(axes: Axes, x: int, values: np.ndarray, group: str, colour: str, marker: str) -> None:
    if not len(values):
        place = axes.get_xaxis_transform()
        text = f"no {group}\ninstance\nat hand"
        axes.text(x, 0.5, text, transform=place, ha="center", va="center", style="italic", color=colours.GREY)
        return
    # Golden-ratio steps spread neighbours evenly and need no random numbers.
    jitter = ((np.arange(len(values)) * 0.6180339887) % 1.0 - 0.5) * 0.5
    axes.plot(x + jitter, values, marker, color=colour, markersize=2.6, alpha=0.55, markeredgewidth=0, zorder=2)
    lines = {"color": colours.BLACK, "linewidth": 1.0}
    axes.boxplot(
        values, positions=[x], widths=0.6, showfliers=False, medianprops=lines, boxprops=lines, zorder=3,
        whiskerprops=lines, capprops=lines,
    )  # fmt: skip


def _position_panel(axes: Axes, positions: pd.DataFrame, findings: pd.DataFrame, settings: FiguresStage) -> None:
    ratio = _short(finding(findings, "flow_ratio_wrong_right"))
    drawing.heading(axes, "c  Flow along the rationale", [_first_seed(settings), f"wrong / right {ratio}"], _NOTES)
    bins = max(settings.figures.position_bins, int(positions["bin"].max()) + 1 if len(positions) else 1)
    axes.axvline(0.5, color=colours.GREY, linewidth=0.7, linestyle=":")
    for group, colour, _, style in _GROUPS:
        rows = positions[positions["group"] == group].dropna(subset=["mean"]).sort_values("bin")
        if rows.empty:
            continue
        x = (rows["bin"].to_numpy() + 0.5) / bins
        axes.plot(x, rows["mean"].to_numpy(), style, color=colour, label=group)
        axes.fill_between(x, rows["low"].to_numpy(), rows["high"].to_numpy(), color=colour, alpha=0.18, linewidth=0)
    axes.set(xlim=(0, 1), xlabel="relative position in the rationale")
    _scale_in_label(axes, "saliency from p, deep layers")
    if axes.get_legend_handles_labels()[1]:
        axes.legend()
    missing = [group for group, *_ in _GROUPS if not (positions["group"] == group).any()]
    if missing:
        say = " and ".join(f"no {group}" for group in missing) + " instance at hand"
        axes.annotate(say, (0.5, 0.03), xycoords="axes fraction", ha="center", style="italic", color=colours.GREY)


def _scale_in_label(axes: Axes, label: str) -> None:
    """Move the power of ten of small values from the axis's corner, where it collides, into its label."""
    high = max(abs(bound) for bound in axes.get_ylim())
    exponent = int(np.floor(np.log10(high))) if high > 0 else 0
    if -2 <= exponent <= 3:
        axes.set_ylabel(label)
        return
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    axes.yaxis.set_major_formatter(lambda value, position: f"{value / 10.0**exponent:g}")
    axes.set_ylabel(f"{label} (10{raised})")


def _caption(
    findings: Sequence[pd.DataFrame], instances: pd.DataFrame, positions: pd.DataFrame, settings: FiguresStage
) -> str:
    correlation = instances[instances["in_correlation"].astype(bool)]
    separation = instances[instances["in_separation"].astype(bool)].dropna(subset="s_ifp")
    right = int(separation["correct"].astype(bool).sum())
    unknown = int(correlation["accumulated"].isna().sum())
    luck = f"S_IFP is {AT_CHANCE}. " if finding(findings[0], "auc_s_ifp").at_chance else ""
    return (
        "Look whether flow changes more often with accumulation than without, under every seed (a); whether S_IFP "
        "is larger in wrong answers and separates them better than mean NLL (b); whether wrong answers have more "
        "flow right of the dotted line (c). (a) Share of instances whose deep flow changed, given significant "
        f"accumulation in shallow layers or none: {len(correlation)} test instances, {unknown} of them without an "
        f"estimable accumulation; markers are seeds ({_seed_marks(settings)}), vertical lines each seed's interval. "
        f"{_left_out(findings, settings)}(b) S_IFP of {right} right and {len(separation) - right} wrong test "
        "instances; boxes: quartiles and median; whiskers: the farthest points within 1.5 heights of the box; AUC "
        "above 0.5: larger when wrong. p is the prompt, latter r the latter half of the rationale, NLL the model's own "
        "uncertainty. (c) Saliency from the prompt along the rationale, deep layers "
        f"({wording.layer_setting(settings.flow.deep_layers, None)}), in {settings.figures.position_bins} bins "
        f"({_groups(positions)}); bands are intervals, wrong / right: ratio of flows; the dotted line separates "
        "former and latter half. Panels b and c and the numbers above the panels show seed "
        f"{settings.prompt_seeds[0]}; intervals are {wording.level(settings)}. {luck}{wording.run(settings)}"
    )


def _left_out(findings: Sequence[pd.DataFrame], settings: FiguresStage) -> str:
    """Say which seeds panel a does not show, and why."""
    why = {
        seed: finding(table, _CHANGES[0]).note.removeprefix(f"{wording.NOT_ESTIMABLE}: ")
        for seed, table in zip(settings.prompt_seeds, findings, strict=True)
        if not any(finding(table, name).known for name in _CHANGES)
    }
    told = "; ".join(f"seed {seed}{f' ({note})' if note else ''}" for seed, note in why.items())
    return f"{wording.NOT_ESTIMABLE.capitalize()}: {told}. " if why else ""


def _groups(positions: pd.DataFrame) -> str:
    counts = {
        group: int(positions.loc[positions["group"] == group, "instances"].max())
        if (positions["group"] == group).any()
        else 0
        for group, *_ in _GROUPS
    }
    return ", ".join(f"{count} {group}" for group, count in counts.items())
