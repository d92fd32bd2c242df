"""Is the prompt's saliency concentrated in one vector?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dpc.config.slices import FiguresStage
from dpc.report import captions, colours, drawing
from dpc.report.captions import Band
from dpc.report.cells import Tables, bands
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure


@figure(
    category="4 Information flow",
    caption=("Share of each prompt vector in the prompt's saliency, layer by layer: is it concentrated in one vector?"),
    tables=("accumulation", "layers"),
    note="The first seed is shown.",
)
def accumulation(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw the share of each prompt vector, layer by layer."""
    return draw(tables.first("accumulation"), settings, bands(tables, settings)[0])


def draw(table: pd.DataFrame, settings: FiguresStage, shallow: Band | None = None) -> Drawing:
    """Draw the share of each prompt vector in the prompt's saliency, layer by layer, for the first seed."""
    figure = drawing.new_figure(3.9)
    caption = _caption(table, settings, shallow)
    if table.empty:
        drawing.say(figure.add_subplot(), "no instance at hand")
        return drawing.finish(figure, caption)
    grid = table.pivot_table(index="layer", columns="vector", values="mean", dropna=False).sort_index()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.6))
    _share_bars(upper, grid, shallow)
    _share_map(lower, grid, shallow)
    return drawing.finish(figure, caption)


def _share_bars(axes: Axes, grid: pd.DataFrame, shallow: Band | None) -> None:
    inside = grid if shallow is None else grid.loc[shallow[0] : shallow[1]]
    axes.bar(grid.columns.to_numpy(), 100 * inside.mean().to_numpy(), width=0.85, color=colours.BLUE)
    even = 100 / len(grid.columns)
    axes.axhline(even, color=colours.BLACK, linewidth=0.8, linestyle="--")
    # Beside the bars, in the room that the colour bar leaves free above itself.
    axes.annotate(
        "even\nshare",
        (1, even),
        (4, 0),
        ("axes fraction", "data"),
        "offset points",
        va="center",
        fontsize=6.5,
    )
    axes.set_ylabel("share (%)")
    axes.tick_params(labelbottom=False)
    where = "all layers" if shallow is None else captions.layers_named("shallow", shallow)
    axes.set_title(f"Mean over {where}")


def _share_map(axes: Axes, grid: pd.DataFrame, shallow: Band | None) -> None:
    x, y = grid.columns.to_numpy(), grid.index.to_numpy()
    extent = (x[0] - 0.5, x[-1] + 0.5, y[0] - 0.5, y[-1] + 0.5)
    image = axes.imshow(
        100 * grid.to_numpy(float),
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=extent,
        vmin=0,
    )
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes, label="share of the vector (%)", pad=0.01, fraction=0.05)
    if shallow is not None:
        for edge in (shallow[0] - 0.5, shallow[1] + 0.5):
            axes.axhline(edge, color="white", linewidth=1.6)
            axes.axhline(edge, color=colours.RED, linewidth=1.0, linestyle="--")
    drawing.layer_axis(axes, "y")
    axes.set_ylim(extent[2], extent[3])
    axes.set_title("Layer by layer" + ("" if shallow is None else "; dashed lines enclose the shallow layers"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    axes.set_xlabel("prompt vector (counted from 0)")


def _caption(table: pd.DataFrame, settings: FiguresStage, shallow: Band | None) -> str:
    count = int(table["instances"].max()) if len(table) else 0
    vectors = table["vector"].nunique()
    band = captions.layer_setting(settings.flow.shallow_layers, shallow)
    return (
        "Look for a bar far above the dashed line that is bright in many layers: one vector has much of the "
        f"saliency. Share of each of the {vectors} prompt vectors in the prompt's saliency c_j, mean over {count} "
        f"test instances. Vectors and layers are counted from 0; shallow layers: {band}. The dashed line is the "
        f"share of each vector if all had the same. {captions.saliency(settings)} First seed. "
        f"{captions.run(settings, all_seeds=False)}"
    )
