"""Does a prompt that can be read answer as well?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.studies.readability import INSTRUCTION, RANDOM
from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import LIGHT, Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.prompts import prompts

UNPROMPTED = (
    ("correct", colours.BLACK, 0, "no prompt"),
    ("correct_lenient", colours.ORANGE, 4, "no prompt, read leniently"),
)
"""Readings of the answers without a prompt; dashes begin so many points on, so that equal lines are both seen."""
REFERENCES = {INSTRUCTION: "written instruction", RANDOM: "random tokens"}


@figure(
    category="1 Main results",
    caption="Accuracy of every tuned prompt against the perplexity of its nearest tokens.",
    tables=("interpretability", "outcomes"),
    of="recipes",
)
def readability(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw every prompt as a point, and what its text answers as a hollow one."""
    made = drawing.new_figure(3.4)
    axes = made.add_subplot()
    tuned = prompts(tables)
    for number, recipe in enumerate(settings.recipes):
        _points(axes, tuned[tuned["recipe"] == recipe], recipe, *colours.series_look(number))
    if tuned["accuracy_projected"].notna().any():
        axes.plot([], [], "o", color=colours.GREY, fillstyle="none", markersize=5, label="its nearest tokens")
    _references(axes, tables)
    axes.set(xscale="log", xlabel="perplexity of the nearest tokens under the task's model", ylabel="accuracy (%)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    axes.margins(y=0.12)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return drawing.finish(made, _caption(tuned, settings))


def _points(axes: Axes, rows: pd.DataFrame, recipe: str, colour: str, marker: str) -> None:
    look: dict[str, Any] = {"linestyle": "none", "marker": marker, "markersize": 5, "color": colour}
    perplexity = np.exp(rows["nll"])
    axes.plot(perplexity, 100 * rows["accuracy"], label=recipe, **look)
    if rows["accuracy_projected"].notna().any():
        axes.vlines(perplexity, 100 * rows["accuracy"], 100 * rows["accuracy_projected"], colour, linewidth=0.5)
        axes.plot(perplexity, 100 * rows["accuracy_projected"], **look, fillstyle="none")


def _references(axes: Axes, tables: Tables) -> None:
    """Draw the perplexity of the references, and the accuracy without a prompt."""
    read = pd.concat(tables.each("interpretability"), ignore_index=True)
    for (kind, label), line in zip(REFERENCES.items(), ("-.", ":"), strict=True):
        nll = read.loc[read["prompt"] == kind, "nll"]
        if len(nll):
            axes.axvline(float(np.exp(nll.mean())), color=colours.GREY, linewidth=0.9, linestyle=line, label=label)
            axes.axvspan(*np.exp([nll.min(), nll.max()]), color=colours.LIGHT, zorder=0)
    outcomes = pd.concat(tables.each("outcomes", LIGHT["outcomes"]))
    unprompted = outcomes[outcomes["plan"] == "no_prompt"]
    for reading, colour, start, label in UNPROMPTED if len(unprompted) else ():
        dashes = (start, (4, 4))
        axes.axhline(100 * unprompted[reading].mean(), color=colour, linewidth=1.0, linestyle=dashes, label=label)


def _caption(tuned: pd.DataFrame, settings: FiguresStage) -> str:
    projected = (
        "Hollow: accuracy under the nearest tokens' own embeddings, joined to the prompt that they were read off. "
        if tuned["accuracy_projected"].notna().any()
        else "What the nearest tokens themselves answer was not run (plan projected). "
    )
    return (
        "Look whether points rise to the right: then prompts that answer better are less likely as text. A point is a "
        "prompt, one seed of a recipe; its vectors are read as their nearest tokens, which can be arbitrary text. "
        f"{projected}Vertical lines: mean perplexity of the written instruction, and of as many random tokens (grey: "
        "lowest to highest). Dashed: accuracy without a prompt, in both readings, as nobody told that model the form "
        "of an answer; all else is read strictly. The claims table judges the correlation (i2) and what is lost as "
        "text (i1). "
        f"{wording.run(settings)}"
    )
