"""Where saliency flows: by layer, by prompt vector, and the whole map of single instances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dpc.config.slices import FiguresStage
from dpc.report import captions, drawing
from dpc.report.captions import Band
from dpc.report.drawing import Drawing

# block, label, colour, line style, opacity: the prompt's flows stand out, the others are for comparison
_BLOCKS = (
    ("p→q", "prompt → question", drawing.BLUE, "-", 1.0),
    ("p→r", "prompt → rationale", drawing.RED, "-", 1.0),
    ("q→r", "question → rationale", drawing.GREY, "--", 0.7),
    ("r→r", "rationale → rationale", drawing.GREY, ":", 0.7),
)
_MOST_TOKEN_LABELS = 30  # as many as can be read beside a map
_DECADES = 5.0  # of the exemplars' colour scale


def _layer_axis(axes: Axes, which: str) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(integer=True, nbins=12, min_n_ticks=1))
    axis.set_label_text("layer (counted from 0)")


def power_of_ten(value: float, _position: object = None) -> str:
    """Write `10⁻⁴`, or `2 × 10⁻⁴` between the decades."""
    if value <= 0 or not np.isfinite(value):
        return ""
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    raised = str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if abs(factor - 1) < 1e-6 else f"{factor:.0f} × 10{raised}"


def layers(
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
            drawing.mark_band(axes, band, captions.layers_named(name, band), tint)
    _finish_layer_axes(axes, pooled)
    return drawing.finish(figure, _layers_caption(tables, settings))


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
    _layer_axis(axes, "x")
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
        axes.yaxis.set_major_formatter(FuncFormatter(power_of_ten))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, position: ""))
        label += "\n(log scale)"
    axes.set_ylabel(label)


def _layers_caption(tables: Sequence[pd.DataFrame], settings: FiguresStage) -> str:
    counts = [int(table["instances"].max()) for table in tables if len(table)]
    return (
        "Look for layers where a coloured line, from the prompt, lies above the grey ones: there the prompt weighs "
        "more than the text. Mean saliency per pair of tokens, by layer (layers counted from 0), over "
        f"{captions.count_range(counts)} test instances of the correlation study per seed. Lines are means "
        f"over {captions.counted(len(tables), 'seed')}; bands are the mean over seeds of each seed's "
        f"{captions.level(settings)} interval. A mean of 0 is left out: in the last layer, rows of the question reach "
        f"no loss. {captions.saliency(settings)} {captions.run(settings)}"
    )


def accumulation(table: pd.DataFrame, settings: FiguresStage, shallow: Band | None = None) -> Drawing:
    """Draw the share of each prompt vector in the prompt's saliency, layer by layer, for the first seed."""
    figure = drawing.new_figure(3.9)
    caption = _accumulation_caption(table, settings, shallow)
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
    axes.bar(grid.columns.to_numpy(), 100 * inside.mean().to_numpy(), width=0.85, color=drawing.BLUE)
    even = 100 / len(grid.columns)
    axes.axhline(even, color=drawing.BLACK, linewidth=0.8, linestyle="--")
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
            axes.axhline(edge, color=drawing.RED, linewidth=1.0, linestyle="--")
    _layer_axis(axes, "y")
    axes.set_ylim(extent[2], extent[3])
    axes.set_title("Layer by layer" + ("" if shallow is None else "; dashed lines enclose the shallow layers"))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=20))
    axes.set_xlabel("prompt vector (counted from 0)")


def _accumulation_caption(table: pd.DataFrame, settings: FiguresStage, shallow: Band | None) -> str:
    count = int(table["instances"].max()) if len(table) else 0
    vectors = table["vector"].nunique()
    band = captions.layer_setting(settings.flow.shallow_layers, shallow)
    return (
        "Look for a bar far above the dashed line that is bright in layer after layer: there saliency gathers in one "
        f"vector. Share of each of the {vectors} prompt vectors in the prompt's saliency c_j, mean over {count} test "
        f"instances. Vectors and layers are counted from 0; shallow layers: {band}. An even spread gives "
        f"each vector the dashed share. {captions.saliency(settings)} First seed. "
        f"{captions.run(settings, all_seeds=False)}"
    )


def band_maps(table: pd.DataFrame, shallow: Band | None, deep: Band | None) -> dict[tuple[str, str], pd.Series]:
    """Return, by role and band, an instance's row with `saliency` averaged over the band's layers."""
    maps = {}
    for role, rows in table.groupby("role", sort=False):
        for name, band in (("shallow", shallow), ("deep", deep)):
            if band is not None:
                inside = rows[rows["layer"].between(*band)]
                mean = np.mean([np.asarray(values, float) for values in inside["saliency"]], axis=0)
                more = pd.Series({"saliency": mean, "first_layer": band[0], "last_layer": band[1]}, dtype=object)
                maps[str(role), name] = pd.concat([inside.iloc[0].drop("saliency"), more])
    return maps


def exemplars(table: pd.DataFrame, settings: FiguresStage, shallow: Band | None, deep: Band | None) -> Drawing:
    """Draw the full saliency maps of a right and a wrong instance, over shallow and over deep layers."""
    figure = drawing.new_figure(6.6)
    panels = figure.subplots(2, 2, squeeze=False)
    maps = band_maps(table, shallow, deep)
    norm = _common_norm([np.asarray(row["saliency"], float) for row in maps.values()])
    has_tokens = all(row["size"] <= _MOST_TOKEN_LABELS for row in maps.values())
    for i, role in enumerate(("right", "wrong")):
        for j, band in enumerate(("shallow", "deep")):
            _exemplar_panel(panels[i, j], maps.get((role, band)), role, band, norm, has_tokens)
    if maps:
        scale = ScalarMappable(norm)
        bar = figure.colorbar(scale, ax=panels, shrink=0.5, pad=0.02, format=FuncFormatter(power_of_ten))
        bar.set_label("saliency (log scale)")
        bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, position: ""))
    return drawing.finish(figure, _exemplars_caption(maps, settings), passes=2)


def _common_norm(maps: list[np.ndarray]) -> LogNorm:
    highest = max((float(np.nanmax(values, initial=0.0)) for values in maps), default=0.0)
    highest = highest if highest > 0 else 1.0
    return LogNorm(highest / 10**_DECADES, highest, clip=True)


def _exemplar_panel(axes: Axes, row: pd.Series | None, role: str, band: str, norm: LogNorm, has_tokens: bool) -> None:
    if row is None:
        axes.set_title(f"{role.capitalize()} instance, {band} layers")
        axes.set(xticks=[], yticks=[])
        drawing.say(axes, f"no {role} instance at hand")
        return
    size = int(row["size"])
    values = np.asarray(row["saliency"], float).reshape(size, size)
    # Above the diagonal nothing can flow: left white, so that "no flow" and "very little flow" differ.
    hidden = np.triu(np.ones_like(values, bool), 1)
    axes.imshow(np.ma.masked_array(values, hidden), norm=norm, interpolation="nearest", rasterized=True)
    axes.spines[["left", "bottom", "top", "right"]].set_visible(False)
    _segments(axes, segments(row), size)
    if has_tokens:
        _token_labels(axes, list(row["tokens"]), size)
    else:
        _position_labels(axes)
    layers = captions.layers_named(band, (row["first_layer"], row["last_layer"]))
    axes.set_title(f"{role.capitalize()} instance, {layers}", pad=15)


def segments(row: pd.Series) -> list[tuple[str, int, int]]:
    """Return name, first and one-past-last column of the stretches of an exemplar, from left to right.

    Behind a prompt at position 0 comes BOS or, in families without one, the question: the tokens tell.
    """
    start, vectors, question = int(row["prompt_start"]), int(row["vectors"]), int(row["question_tokens"])
    head = [("prompt", start, start + vectors)]
    if start:
        head.insert(0, ("BOS", 0, start))
    elif row["tokens"][vectors] == "BOS":
        head.append(("BOS", vectors, vectors + 1))
    first = head[-1][2]
    return [*head, ("question", first, first + question), ("rationale", first + question, int(row["size"]))]


def _segments(axes: Axes, parts: list[tuple[str, int, int]], size: int) -> None:
    for _, _, end in parts[:-1]:
        axes.plot([end - 0.5, end - 0.5], [end - 0.5, size - 0.5], color=drawing.RED, linewidth=0.7)
        axes.plot([-0.5, end - 0.5], [end - 0.5, end - 0.5], color=drawing.RED, linewidth=0.7)
    for name, start, end in parts:
        _segment_label(axes, name, (start + end - 1) / 2, start == 0)


def _segment_label(axes: Axes, name: str, centre: float, first: bool) -> None:
    """Name a stretch above its columns and beside its rows, BOS, one token wide, away from its neighbour."""
    text = "BOS" if name == "BOS" else name[0]
    across = "center" if name != "BOS" else "right" if first else "left"
    along = "center" if name != "BOS" else "bottom" if first else "top"
    look: dict[str, Any] = {"textcoords": "offset points", "color": drawing.RED, "fontsize": 7}
    above, beside = ("data", "axes fraction"), ("axes fraction", "data")
    axes.annotate(text, (centre, 1), (0, 2), xycoords=above, ha=across, va="bottom", **look)
    axes.annotate(text, (1, centre), (3, 0), xycoords=beside, ha="left", va=along, **look)


def _position_labels(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_xlabel("key position (counted from 0)")
    axes.set_ylabel("query position (counted from 0)")


def _token_labels(axes: Axes, tokens: list[str], size: int) -> None:
    points = min(5.5, 0.75 * 2.6 * drawing.POINTS / size)
    names = [drawing.clean(token)[:12] for token in tokens]
    axes.set_xticks(range(size), names, rotation=90, fontsize=points)
    axes.set_yticks(range(size), names, fontsize=points)
    axes.tick_params(length=1, pad=1)
    axes.set_xlabel("key token")
    axes.set_ylabel("query token")


def _exemplars_caption(maps: dict[tuple[str, str], pd.Series], settings: FiguresStage) -> str:
    shown, stretches = [], {name for row in maps.values() for name, _, _ in segments(row)}
    for role in ("right", "wrong"):
        row = maps.get((role, "shallow"), maps.get((role, "deep")))
        shown.append(
            f"no {role} instance at hand" if row is None else f"{role}: {row['problem_id']}, {row['size']} tokens"
        )
    return (
        "Look for bright columns under p: prompt vectors that many tokens draw on; in the deep map of the wrong "
        "instance, whether they reach into the last rows of r. "
        "Saliency of every query row on every key column, mean over the layers named (counted from 0), of "
        f"one instance prompt tuning answers right and one it answers wrong ({'; '.join(shown)}). Lines part "
        f"{'BOS, ' * ('BOS' in stretches)}prompt p, question q and rationale r; one colour scale, "
        f"{_DECADES:g} decades below the largest value. {captions.saliency(settings)} First seed. "
        f"{captions.run(settings, all_seeds=False)}"
    )
