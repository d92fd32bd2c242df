"""How much depends on each choice: heat maps over grids of settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.patches import Rectangle

from dpc.config.slices import ReportStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure

SWEEPS = {
    "threshold": (
        "κ: a token counts above κ times the former half's mean",
        "R: share of such tokens above which DPC fires",
    ),
    "deep": ("deep layers", "flow of tokens, halves cut by …"),
    "shallow": ("shallow layers", "rows whose saliency locates the vector"),
    "edit": ("Γ: % of entries reduced", "factor on the located vector"),
}
"""Each sweep's choices in words: rows and columns."""
_TITLES = {
    "fire_rate": "fires (%)",
    "gain": "gain over prompt tuning (points)",
    "same_vector": "same vector as configured (%)",
}
_FIRST = {"shallow": "same_vector"}
"""What the left map of a sweep shows, where it is not how often DPC fires."""


@figure(
    category="6 Evidence",
    caption=(
        "How much depends on each choice? In a map of one colour the choice hardly matters; a single cell with a "
        "gain may be luck."
    ),
    tables=("sensitivity",),
)
def sensitivity(tables: Tables, settings: ReportStage) -> Drawing:
    """Draw two heat maps per sweep."""
    return draw(tables.stacked("sensitivity"), settings)


def pooled(tables: pd.DataFrame) -> pd.DataFrame:
    """Return the calibration rows of `tables` as means over seeds, rows and columns in their first order.

    A mean is nan where a seed has no value: the others' would be of other questions.
    """
    rows = tables[tables["split"] == "calibration"]
    keys = ["sweep", "row", "column"]
    means = rows.groupby(keys, sort=False)[["fire_rate", "gain", "accuracy", "known", "same_vector"]].mean(skipna=False)
    counts = rows.groupby(keys, sort=False)[["configured", "best"]].sum()
    return pd.concat([means, counts], axis=1).reset_index()


def draw(tables: pd.DataFrame, settings: ReportStage) -> Drawing:
    """Draw two heat maps per sweep; `tables` holds the cell's `sensitivity` tables of all seeds."""
    means = pooled(tables)
    sweeps = [name for name in SWEEPS if (means["sweep"] == name).any()] or ["threshold"]
    heights = [0.9 + 0.2 * max(3, means.loc[means["sweep"] == name, "row"].nunique()) for name in sweeps]
    figure = drawing.new_figure(sum(heights) + 0.3)
    panels = figure.subplots(len(sweeps), 2, squeeze=False, height_ratios=heights)
    for place, name in enumerate(sweeps):
        here = means[means["sweep"] == name]
        for side, measure in enumerate((_FIRST.get(name, "fire_rate"), "gain")):
            axes = panels[place, side]
            axes.set_title(f"{'abcdefghij'[2 * place + side]}  {_TITLES[measure]}")
            _map(axes, here, measure)
            axes.set_xlabel(SWEEPS[name][1])
        panels[place, 0].set_ylabel("\n".join(drawing.wrap(SWEEPS[name][0], heights[place] - 0.6, 7.5)))
    return drawing.finish(figure, _caption(tables, settings))


def _map(axes: Axes, rows: pd.DataFrame, measure: str) -> None:
    if rows.empty:
        drawing.say(axes, "no choice was tried")
        return
    names, across = list(dict.fromkeys(rows["row"])), list(dict.fromkeys(rows["column"]))
    grid = 100 * rows.pivot(index="row", columns="column", values=measure).loc[names, across].to_numpy(dtype=float)
    axes.imshow(grid, aspect="auto", **_colours(grid, measure))
    axes.set_xticks(range(len(across)), across)
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    for row in rows.to_dict("records"):
        _cell(axes, across.index(row["column"]), names.index(row["row"]), row, measure)


def _colours(grid: np.ndarray, measure: str) -> dict[str, Any]:
    """Return colours: white is nothing, blue is more; of gains purple is more and orange is harm."""
    known = grid[np.isfinite(grid)]
    if measure != "gain":
        return {"cmap": "Blues", "norm": Normalize(0, 180)}
    reach = max(1.0, float(np.abs(known).max()) if known.size else 1.0)
    return {"cmap": "PuOr", "norm": TwoSlopeNorm(0, -2 * reach, 2 * reach)}


def _cell(axes: Axes, x: int, y: int, row: dict[Any, Any], measure: str) -> None:
    value = row[measure]
    text = wording.DASH if np.isnan(value) else f"{100 * value:z.{int(measure == 'gain')}f}".replace("-", "−")
    text = wording.starred(text, row["known"]) if measure == "gain" else text
    axes.text(x, y, text, ha="center", va="center", fontsize=7, color=colours.BLACK)
    if row["configured"]:
        frame = Rectangle((x - 0.46, y - 0.42), 0.92, 0.84, fill=False, edgecolor=colours.BLACK, linewidth=1.1)
        axes.add_patch(frame)


def _caption(tables: pd.DataFrame, settings: ReportStage) -> str:
    rows = tables[tables["split"] == "calibration"]
    counts = wording.count_range([int(count) for count in rows["questions"]])
    return (
        "Look for maps of one colour: there the choice hardly matters. A single cell with a "
        "gain may be luck. Each cell is one pair of settings, all others as configured (black frames: the "
        f"configured pair, under some seed), on calibration questions ({counts} per seed), means over "
        f"{wording.counted(len(settings.prompt_seeds), 'seed')}. Layers count from 0. In the maps of deep layers R "
        "is chosen again for each pair, so a seed may never fire; in the maps of shallow layers and of Γ each seed "
        "keeps its R. A star: the answers of some fired questions are not known under these settings (the located "
        "vector was never masked); the gain is the fire rate times the mean over those that are known. A dash: under "
        f"some seed none is known. The table of this name shows the best choices on test questions. "
        f"{wording.run(settings)}"
    )
