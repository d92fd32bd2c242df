"""Is the prompt's saliency concentrated in one vector, and in the same one for every question?"""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from dpc.analysis.studies.location import spread
from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables, bands
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.wording import Band


@figure(
    category="4 Information flow",
    caption=(
        "Share of each prompt vector in the prompt's saliency, layer by layer: is it concentrated in one vector, and "
        "in the same one for every question?"
    ),
    tables=("accumulation", "layers", "evidence"),
    note="The first seed is shown.",
)
def accumulation(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw the share of each prompt vector, layer by layer, and how often each is located."""
    evidence = tables.stacked("evidence")
    test = evidence[(evidence["split"] == "test") & evidence["located"].notna()]
    first, *others = (test.loc[test["seed"] == seed, "located"] for seed in settings.prompt_seeds)
    said = _elsewhere(dict(zip(settings.prompt_seeds[1:], others, strict=True)))
    return draw(tables.first("accumulation"), first, settings, bands(tables, settings)[0], said)


def draw(
    table: pd.DataFrame, located: pd.Series, settings: FiguresStage, shallow: Band | None = None, elsewhere: str = ""
) -> Drawing:
    """Draw the share of each vector in the prompt's saliency, and how often each is `located`, for the first seed.

    `elsewhere` says what the other seeds locate.
    """
    figure = drawing.new_figure(4.6)
    caption = _caption(table, located, settings, shallow, elsewhere)
    if table.empty:
        drawing.say(figure.add_subplot(), "no instance at hand")
        return drawing.finish(figure, caption)
    grid = table.pivot_table(index="layer", columns="vector", values="mean", dropna=False).sort_index()
    top, upper, lower = figure.subplots(3, 1, sharex=True, height_ratios=(0.8, 1, 2.6))
    _located_bars(top, located, len(grid.columns))
    _share_bars(upper, grid, shallow)
    _share_map(lower, grid, shallow)
    return drawing.finish(figure, caption)


def _located_bars(axes: Axes, located: pd.Series, vectors: int) -> None:
    shares = located.astype(int).value_counts(normalize=True).reindex(range(vectors), fill_value=0.0)
    axes.bar(shares.index.to_numpy(), 100 * shares.to_numpy(), width=0.85, color=colours.ORANGE)
    axes.set_ylim(0, 100)
    axes.set_ylabel("located (%)")
    axes.tick_params(labelbottom=False)
    axes.set_title("Share of the test questions that locate the vector")


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
        fontsize=7,
    )
    axes.set_ylabel("share (%)")
    axes.tick_params(labelbottom=False)
    where = "all layers" if shallow is None else wording.layers_named("shallow", shallow)
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


def _caption(
    table: pd.DataFrame, located: pd.Series, settings: FiguresStage, shallow: Band | None, elsewhere: str
) -> str:
    count = int(table["instances"].max()) if len(table) else 0
    vectors = table["vector"].nunique()
    band = wording.layer_setting(settings.flow.shallow_layers, shallow)
    return (
        "Look for a bar far above the dashed line that is bright in many layers: one vector has much of the "
        f"saliency. Share of each of the {vectors} prompt vectors in the prompt's saliency c_j, mean over {count} "
        f"test instances. Vectors and layers are counted from 0; shallow layers: {band}. The dashed line is the "
        f"share of each vector if all had the same. {_located_sentence(located, vectors)}{wording.saliency(settings)} "
        f"First seed. {elsewhere}"
        f"{wording.run(settings, all_seeds=False)}"
    )


def _elsewhere(located: dict[int, pd.Series]) -> str:
    """Return which vector each of these seeds locates most often, and at how many questions: a prompt has its own."""
    said = [
        f"vector {int(own.mode()[0])}, at {100 * (own == own.mode()[0]).mean():.0f} % of the questions (seed {seed})"
        for seed, own in located.items()
        if len(own)
    ]
    return f"What the others locate most often: {'; '.join(said)}. " if said else ""


def _located_sentence(located: pd.Series, vectors: int) -> str:
    if located.empty or not vectors:  # answers may all be too short to be an instance, and locate a vector still
        return ""
    found = spread(located, vectors)
    return (
        f"Top: the {found.questions} test questions locate {found.located} of the {vectors} vectors; "
        f"{100 * found.most_share:.0f} % of them locate the most frequent one. The exponential of the entropy is "
        f"{found.effective:.1f} vectors; it would be {found.relabelled:.1f} if each question located one at random. "
    )
