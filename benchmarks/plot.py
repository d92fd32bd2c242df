"""Ratios as a picture: saliency over sequence length, the rest as dots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks import table
from benchmarks.suite import Pair
from benchmarks.table import Runs
from dpc.report import colours, drawing

COLOURS = {"eager": colours.BLUE, "ones_gate": colours.ORANGE, "floor": colours.GREEN}
MARKS = {1: ("o", "-"), 4: ("s", "--")}
TICKS = (0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20)


def _log_ratio(axes: Axes, which: str) -> None:
    """Make an axis logarithmic with plain numbers at ticks that lie within it."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    inside = [tick for tick in TICKS if low <= tick <= high]
    axis.set_major_locator(FixedLocator(inside))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _lines(axes: Axes, runs: Runs, pairs: Sequence[Pair], column: str, names: Mapping[str, str]) -> None:
    """Draw a line per other method and batch size: medians, with bars from smallest to largest."""
    for other, batch in dict.fromkeys((pair.other, pair.work.options["batch"]) for pair in pairs):
        mine = [p for p in pairs if (p.other, p.work.options["batch"]) == (other, batch)]
        found = [(p.work.options["length"], r) for p in mine if (r := table.ratio(runs, p, column))]
        if not found:
            continue
        x, middle = [length for length, _ in found], [r.median for _, r in found]
        ends = [[r.median - r.least for _, r in found], [r.most - r.median for _, r in found]]
        mark, dash = MARKS.get(int(batch), ("^", ":"))
        label = f"{names[other]}, batch {batch}"
        axes.errorbar(x, middle, ends, color=COLOURS[other], marker=mark, linestyle=dash, capsize=2, label=label)


def _targets(axes: Axes, pairs: Sequence[Pair], quantity: str) -> None:
    for pair in pairs:
        target = getattr(pair.targets, quantity)
        if target is not None:
            length, colour = pair.work.options["length"], COLOURS[pair.other]
            axes.plot([length / 1.19, length * 1.19], [target] * 2, color=colour, linewidth=3, alpha=0.35, zorder=1)


def _over_length(
    axes: Axes, runs: Runs, pairs: Sequence[Pair], column: str, quantity: str, names: Mapping[str, str]
) -> None:
    _lines(axes, runs, pairs, column, names)
    _targets(axes, pairs, quantity)
    axes.axhline(1, color=colours.GREY, linewidth=0.8)
    lengths = sorted({int(pair.work.options["length"]) for pair in pairs})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(lengths))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    _log_ratio(axes, "y")
    axes.set_xlabel("sequence length S (tokens)")
    axes.set_ylabel(f"lean / other, {'seconds' if quantity == 'time' else 'peak MB'} (ratio)")
    axes.set_title(f"Saliency: {quantity}")
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
    _log_ratio(axes, "x")
    axes.set_xlabel("ours / other (ratio of seconds, or of peak MB)")
    axes.set_title("The rest: time and peak memory")
    axes.grid(axis="x")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def draw(runs: Runs, pairs: Sequence[Pair], names: Mapping[str, str]) -> Figure:
    """Return the figure of all that the table holds."""
    lengths = [pair for pair in pairs if pair.part == "saliency" and pair.ours == "lean"]
    rest = [pair for pair in pairs if pair not in lengths]
    caption = (
        "Below 1, ours is faster or smaller. Points are medians over rounds, bars reach from the smallest to "
        "the largest; thick pale strokes are targets. A size at which the other does not fit in memory has no point."
    )
    figure = drawing.new_figure(2.9 * bool(lengths) + (0.8 + 0.34 * len(rest)) * bool(rest))
    heights = [2.9] * bool(lengths) + [0.8 + 0.34 * len(rest)] * bool(rest)
    # Parts of their own: the lower one's long labels must not narrow the upper one's panels.
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if lengths:
        panels = parts[0].subplots(1, 2)
        for axes, column, quantity in zip(panels, ("seconds", "peak_mb"), ("time", "memory"), strict=True):
            _over_length(axes, runs, lengths, column, quantity, names)
        panels[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    if rest:
        _dots(parts[-1].add_subplot(), runs, rest, names)
    return drawing.finish(figure, caption).figure
