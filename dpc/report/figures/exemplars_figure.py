"""Whole saliency maps of a right and a wrong instance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables, bands
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.wording import Band

_MOST_TOKEN_LABELS = 24  # as many as can be read beside a map, at 7 points
_MOST_CELLS = 256  # of a map, along each side: finer than print shows
_COLOURS = 32  # of the scale: an image of few colours takes little room
_DECADES = 5.0  # of the exemplars' colour scale


@figure(
    category="4 Information flow",
    caption="Whole saliency maps of a right and a wrong instance, over shallow and over deep layers.",
    tables=("exemplars", "layers", "accumulation"),
    note="The first seed is shown.",
)
def exemplars(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw whole maps over shallow and over deep layers."""
    return draw(tables.first("exemplars"), settings, *bands(tables, settings))


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


def draw(table: pd.DataFrame, settings: FiguresStage, shallow: Band | None, deep: Band | None) -> Drawing:
    """Draw the full saliency maps of a right and a wrong instance, over shallow and over deep layers."""
    figure = drawing.new_figure(7.0)
    panels = figure.subplots(2, 2, squeeze=False)
    maps = band_maps(table, shallow, deep)
    norm = _common_norm([np.asarray(row["saliency"], float) for row in maps.values()])
    has_tokens = all(row["size"] <= _MOST_TOKEN_LABELS for row in maps.values())
    for i, role in enumerate(("right", "wrong")):
        for j, band in enumerate(("shallow", "deep")):
            _exemplar_panel(panels[i, j], maps.get((role, band)), role, band, norm, has_tokens)
    if maps:
        scale = ScalarMappable(norm, _colours())
        bar = figure.colorbar(scale, ax=panels, shrink=0.5, pad=0.02, format=FuncFormatter(drawing.power_of_ten))
        bar.set_label("saliency (log scale)")
        bar.ax.yaxis.set_minor_formatter(FuncFormatter(lambda value, position: ""))
    return drawing.finish(figure, _caption(maps, settings), passes=3)


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
    values = pooled(np.asarray(row["saliency"], float).reshape(size, size))
    # Above the diagonal nothing can flow: left white, so that "no flow" and "very little flow" differ.
    hidden = np.triu(np.ones_like(values, bool), 1)
    end = len(values) * cell_side(size) - 0.5
    edges = (-0.5, end, end, -0.5)
    axes.imshow(np.ma.masked_array(values, hidden), norm=norm, cmap=_colours(), interpolation="none", extent=edges)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    axes.spines[["left", "bottom", "top", "right"]].set_visible(False)
    _segments(axes, segments(row), size)
    if has_tokens:
        _token_labels(axes, list(row["tokens"]), size)
    else:
        _position_labels(axes)
    layers = wording.layers_named(band, (row["first_layer"], row["last_layer"]))
    axes.set_title(f"{role.capitalize()} instance, {layers}", pad=15)


def cell_side(size: int) -> int:
    """Return how many tokens of a map of `size` tokens a cell of the picture has along each side."""
    return -(-size // _MOST_CELLS)


def pooled(values: np.ndarray) -> np.ndarray:
    """Return a map with at most `_MOST_CELLS` cells a side: each is the largest value of a square of the map."""
    side = cell_side(len(values))
    room = -len(values) % side
    squares = np.pad(values, (0, room)).reshape(-1, side, (len(values) + room) // side, side)
    return np.asarray(squares.max(axis=(1, 3)))


def _colours() -> Colormap:
    return colormaps[rcParams["image.cmap"]].resampled(_COLOURS)


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
        axes.plot([end - 0.5, end - 0.5], [end - 0.5, size - 0.5], color=colours.RED, linewidth=0.7)
        axes.plot([-0.5, end - 0.5], [end - 0.5, end - 0.5], color=colours.RED, linewidth=0.7)
    for name, start, end in parts:
        _segment_label(axes, name, (start + end - 1) / 2, start == 0)


def _segment_label(axes: Axes, name: str, centre: float, first: bool) -> None:
    """Name a stretch above its columns and beside its rows, BOS, one token wide, away from its neighbour."""
    text = "BOS" if name == "BOS" else name[0]
    across = "center" if name != "BOS" else "right" if first else "left"
    along = "center" if name != "BOS" else "bottom" if first else "top"
    look: dict[str, Any] = {"textcoords": "offset points", "color": colours.RED, "fontsize": 7}
    above, beside = ("data", "axes fraction"), ("axes fraction", "data")
    axes.annotate(text, (centre, 1), (0, 2), xycoords=above, ha=across, va="bottom", **look)
    axes.annotate(text, (1, centre), (3, 0), xycoords=beside, ha="left", va=along, **look)


def _position_labels(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_xlabel("key position (counted from 0)")
    axes.set_ylabel("query position (counted from 0)")


def _token_labels(axes: Axes, tokens: list[str], size: int) -> None:
    names = [drawing.clean(token)[:12] for token in tokens]
    axes.set_xticks(range(size), names, rotation=90)
    axes.set_yticks(range(size), names)
    axes.tick_params(length=1, pad=1)
    axes.set_xlabel("key token")
    axes.set_ylabel("query token")


def _caption(maps: dict[tuple[str, str], pd.Series], settings: FiguresStage) -> str:
    shown, stretches = [], {name for row in maps.values() for name, _, _ in segments(row)}
    for role in ("right", "wrong"):
        row = maps.get((role, "shallow"), maps.get((role, "deep")))
        shown.append(
            f"no {role} instance at hand" if row is None else f"{role}: {row['problem_id']}, {row['size']} tokens"
        )
    side = max((cell_side(row["size"]) for row in maps.values()), default=1)
    coarse = f"A cell is the largest value of up to {side} × {side} tokens. " if side > 1 else ""
    return (
        "Look for bright columns under p: prompt vectors that many tokens depend on. In the deep map of the wrong "
        "instance, look whether these columns are bright down to the last rows of r. Saliency of every query row on "
        "every key column, mean over the layers named (counted from 0), of one right and one wrong answer of prompt "
        f"tuning ({'; '.join(shown)}). Lines separate {'BOS, ' * ('BOS' in stretches)}prompt p, question q and "
        f"rationale r; one colour scale, {_DECADES:g} decades below the largest value. {coarse}"
        f"{wording.saliency(settings)} First seed. {wording.run(settings, all_seeds=False)}"
    )
