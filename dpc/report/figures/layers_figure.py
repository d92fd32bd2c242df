"""How strongly the prompt acts on question and rationale, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator

from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables, bands
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.wording import Band

# block, label, colour, line style, opacity: the prompt's flows stand out, the others are for comparison
_BLOCKS = (
    ("p→q", "prompt → question", colours.BLUE, "-", 1.0),
    ("p→r", "prompt → rationale", colours.RED, "-", 1.0),
    ("q→r", "question → rationale", colours.GREY, "--", 0.7),
    ("r→r", "rationale → rationale", colours.GREY, ":", 0.7),
)


@figure(
    category="4 Information flow",
    caption=(
        "Mean saliency per pair of tokens by layer, counted from 0: how strongly the prompt acts on question and "
        "rationale."
    ),
    tables=("layers", "accumulation"),
    note="Lines are means over seeds.",
)
def layers(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw mean saliency per pair of tokens against the layer."""
    return draw(tables.each("layers"), settings, *bands(tables, settings))


def draw(
    tables: Sequence[pd.DataFrame],
    settings: FiguresStage,
    shallow: Band | None = None,
    deep: Band | None = None,
) -> Drawing:
    """Draw mean saliency per pair of tokens against the layer, for the four blocks.

    `tables` holds one `layers` table per seed; lines and bands are means over seeds.
    """
    figure = drawing.new_figure(2.9)
    axes = figure.add_subplot()
    pooled = _pool_seeds(tables)
    for block, label, colour, style, opacity in _BLOCKS:
        _layer_line(axes, pooled[pooled["block"] == block], label, colour, style, opacity)
    for band, name, tint in ((shallow, "shallow", "#F3F3F3"), (deep, "deep", "#E4E4E4")):
        if band is not None:
            drawing.mark_band(axes, band, wording.layers_named(name, band), tint)
    _finish_layer_axes(axes, pooled)
    return drawing.finish(figure, _caption(tables, settings))


def _pool_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    rows = pd.concat([table.assign(seed=seed) for seed, table in enumerate(tables)])
    return rows.groupby(["block", "layer"], as_index=False)[["mean", "low", "high"]].mean()


def _layer_line(axes: Axes, rows: pd.DataFrame, label: str, colour: str, style: str, opacity: float) -> None:
    if rows.empty:
        return
    x = rows["layer"].to_numpy()
    flows = (rows["mean"] > 0).to_numpy()  # else a gap: 0 has no place on a log scale, nor a band's corner at it
    axes.plot(x, rows["mean"].where(flows).to_numpy(), style, color=colour, alpha=opacity, label=label)
    low, high = rows["low"].clip(lower=1e-30).to_numpy(), rows["high"].to_numpy()
    axes.fill_between(x, low, high, where=flows, color=colour, alpha=0.2 * opacity, linewidth=0)


def _finish_layer_axes(axes: Axes, pooled: pd.DataFrame) -> None:
    drawing.layer_axis(axes, "x")
    label = "mean saliency per pair of tokens"
    shown = pooled[pooled["block"].isin([block[0] for block in _BLOCKS])]
    if shown["mean"].notna().any():
        axes.set_xlim(shown["layer"].min() - 0.5, shown["layer"].max() + 0.5)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        drawing.say(axes, "no instance at hand")
    positive = shown.loc[shown["mean"] > 0, "mean"]
    if len(positive):
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(bottom=positive.min() / 3)
        low, high = axes.get_ylim()
        if high / low < 100:  # else there may be no power of ten in it, and so no number
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(drawing.power_of_ten))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, position: ""))
        label += "\n(log scale)"
    axes.set_ylabel(label)


def _caption(tables: Sequence[pd.DataFrame], settings: FiguresStage) -> str:
    counts = [int(table["instances"].max()) for table in tables if len(table)]
    return (
        "Look for layers where a coloured line (from the prompt) is above the grey ones: there a prompt token "
        "counts more than a text token. Mean saliency per pair of tokens, by layer (layers counted from 0), over "
        f"{wording.count_range(counts)} test instances of the correlation study per seed. Lines are means over "
        f"{wording.counted(len(tables), 'seed')}; bands are the mean over seeds of each seed's "
        f"{wording.level(settings)} interval. A mean of 0 is not drawn: in the last layer, rows of the question do "
        f"not affect the loss. {wording.saliency(settings)} {wording.run(settings)}"
    )
