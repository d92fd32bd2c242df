"""What each value of R would gain on calibration, and the one that was chosen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure

_LINE_STYLES = ("-", "--", "-.", ":")


@figure(
    category="5 Interventions",
    caption="Net gain on calibration against R, and the R that was chosen. If no R has a gain, DPC never fires.",
    tables=("threshold_curve",),
)
def thresholds(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw net gain on calibration against R."""
    return draw(tables.each("threshold_curve"), settings)


def draw(curves: Sequence[pd.DataFrame], settings: FiguresStage) -> Drawing:
    """Draw the net gain on calibration against R, one line per seed, and mark the R that was chosen."""
    figure = drawing.new_figure(2.7)
    axes = figure.add_subplot()
    axes.axhline(0, color=colours.GREY, linewidth=0.8)
    for seed, curve in enumerate(curves):
        share = chosen(curve, settings)
        told = "never fires" if share is None else f"R = {share:g}"
        _curve(axes, curve.sort_values("share"), seed, f"seed {settings.prompt_seeds[seed]}: {told}")
    axes.set(
        xlabel="R: share of affected tokens above which DPC fires",
        ylabel="net gain on calibration\n(fixed − broken)",
    )
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -1.2), max(high, 1.2))  # questions are counted: less than one is no step
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if not any(len(curve) for curve in curves):
        drawing.say(axes, "no value of R was tried")
    return drawing.finish(figure, _caption(curves, settings))


def _curve(axes: Axes, curve: pd.DataFrame, seed: int, label: str) -> None:
    colour, marker = colours.series_look(seed)
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


def _caption(curves: Sequence[pd.DataFrame], settings: FiguresStage) -> str:
    never = sum(chosen(curve, settings) is None for curve in curves)
    trigger = settings.trigger
    rule = "chosen" if trigger.share == "fitted" else f"set in advance (R = {trigger.share:g})"
    tried = wording.count_range([len(curve) for curve in curves])
    return (
        "Look whether a curve stays above 0 around its marker: a single peak may be luck; below 0 DPC breaks more "
        f"than it fixes. Fixed minus broken calibration questions if DPC fired above R, for {tried} values of R. "
        f"Large open markers: the R that was {rule}. Seeds that never fire, because no R has a gain: {never} of "
        f"{len(curves)}. {wording.run(settings)}"
    )
