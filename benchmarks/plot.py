"""Ratios as a picture: saliency over its floor by sequence length, the rest as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks import table
from benchmarks.suite import DTYPES, Pair
from benchmarks.table import Runs
from dpc.report import colours, drawing

COLOURS = (colours.BLUE, colours.ORANGE, colours.GREEN, colours.RED, colours.GREY)
MARKS = "osD^v"
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def _log_ratio(axes: Axes) -> None:
    """Make the horizontal axis logarithmic with plain numbers at ticks that lie within it."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _lines(axes: Axes, runs: Runs, pairs: Sequence[Pair]) -> None:
    """Draw a line per shape: medians, with bars from smallest to largest."""
    for place, shape in enumerate(dict.fromkeys(pair.work.options["shape"] for pair in pairs)):
        mine = [pair for pair in pairs if pair.work.options["shape"] == shape]
        found = [(pair.work.options["length"], r) for pair in mine if (r := table.ratio(runs, pair, "seconds"))]
        if not found:
            continue
        x, middle = [length for length, _ in found], [r.median for _, r in found]
        ends = [[r.median - r.least for _, r in found], [r.most - r.median for _, r in found]]
        colour, mark = COLOURS[place % len(COLOURS)], MARKS[place % len(MARKS)]
        axes.errorbar(x, middle, ends, capsize=2, label=str(shape), color=colour, marker=mark)


def _over_length(axes: Axes, runs: Runs, pairs: Sequence[Pair], dtype: str) -> None:
    """Draw lean over the floor, whose time is what is aimed at."""
    _lines(axes, runs, pairs)
    axes.axhline(1, color=colours.GREY, linewidth=3, alpha=0.35)
    lengths = sorted({int(pair.work.options["length"]) for pair in pairs})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("sequence length S (tokens)")
    axes.set_ylabel("lean / floor, seconds (ratio)")
    axes.set_title(f"Saliency in {dtype}")
    axes.grid(axis="y")


def _dots(axes: Axes, runs: Runs, pairs: Sequence[Pair], names: Mapping[str, str]) -> None:
    """Draw a row per pair: time filled, memory open, targets as bars."""
    styles = {"seconds": (colours.BLUE, "time", colours.BLUE), "peak_mb": (colours.RED, "peak memory", "white")}
    seen = set()
    for y, pair in enumerate(pairs):
        for column, (colour, label, fill) in styles.items():
            found = table.ratio(runs, pair, column)
            if found is None:
                continue
            ends = [[found.median - found.least], [found.most - found.median]]
            place = y - 0.13 if column == "seconds" else y + 0.13
            shown = None if label in seen else label
            seen.add(label)
            axes.errorbar(
                [found.median],
                [place],
                xerr=ends,
                color=colour,
                marker="o",
                mfc=fill,
                linestyle="",
                capsize=2,
                label=shown,
            )
            target = pair.targets.time if column == "seconds" else pair.targets.memory
            if target is not None:
                axes.plot([target] * 2, [place - 0.14, place + 0.14], color=colour, linewidth=3, alpha=0.35, zorder=1)
    labels = [f"{pair.part}: {names[pair.ours]} / {names[pair.other]}\n{pair.label}".replace("`", "") for pair in pairs]
    axes.set_yticks(range(len(pairs)), labels)
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    axes.axvline(1, color=colours.GREY, linewidth=0.8)
    _log_ratio(axes)
    axes.set_xlabel("ours / other (ratio of seconds, or of peak MB)")
    axes.set_title("The rest: time and peak memory")
    axes.grid(axis="x")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw(runs: Runs, pairs: Sequence[Pair], names: Mapping[str, str]) -> Figure:
    """Return the figure of all that the table holds."""
    lines = [pair for pair in pairs if (pair.ours, pair.other) == ("lean", "floor")]
    rest = [pair for pair in pairs if pair not in lines]
    caption = (
        "Below 1, ours is faster or smaller. Points are medians over rounds, bars reach from the smallest to "
        "the largest; thick pale strokes are targets. A size at which the other does not fit in memory has no point."
    )
    heights = [2.9] * bool(lines) + [0.8 + 0.34 * len(rest)] * bool(rest)
    figure = drawing.new_figure(sum(heights))
    # Parts of their own: the lower one's long labels must not narrow the upper one's panels.
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if lines:
        panels = parts[0].subplots(1, len(DTYPES), sharey=True)
        for axes, dtype in zip(panels, DTYPES, strict=True):
            _over_length(axes, runs, [pair for pair in lines if pair.work.options["dtype"] == dtype], dtype)
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    if rest:
        _dots(parts[-1].add_subplot(), runs, rest, names)
    return drawing.finish(figure, caption).figure
