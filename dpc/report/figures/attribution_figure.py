"""Which measure says what a prompt vector does? Ranks of five measures against the loss that masking a vector costs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.stats.statistics import mean_interval
from dpc.analysis.studies.causal import MEASURES, agreement, wide
from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure

_LABELS = {
    "saliency": "saliency, c_j",
    "attention": "plain attention",
    "value_flow": "length of A v",
    "gradient": "gradient × input",
    "norm": "length of the vector",
}
_SINKS = {
    "bos_first:plain": "BOS, prompt",
    "bos_first:extra": "token, BOS, prompt",
    "prompt_first:plain": "prompt, BOS",
    "prompt_first:extra": "token, prompt, BOS",
}
"""What stands in front of the question, by the target of a sink test."""


@figure(
    category="6 Evidence",
    caption=(
        "Does saliency rank a prompt's vectors by their effect? Look whether its row lies right of 0, and right of "
        "the simpler measures."
    ),
    tables=("causal",),
)
def attribution(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw how five measures agree with the measured effect, and what the first position does."""
    return draw(tables.stacked("causal"), settings)


def draw(causal: pd.DataFrame, settings: FiguresStage) -> Drawing:
    """Draw rank correlations per measure and seed, and attention to the first vector by what stands before it."""
    made = drawing.new_figure(2.2 + 0.12 * len(settings.prompt_seeds))
    left, right = made.subplots(1, 2)
    ranked = {name: agreement(causal, name) for name in MEASURES}
    for row, found in enumerate(ranked.values()):
        for number, seed in enumerate(settings.prompt_seeds):
            _dot(left, row, number, found.loc[found["seed"] == seed, "value"], settings)
    _rows(left, list(_LABELS.values()), "Spearman with the effect of masking", "a  which measure ranks vectors")
    left.set_xlim(-1.05, 1.05)
    first = _first_vector(wide(causal, "sink_attention"))
    for row, name in enumerate(_SINKS):
        for number, seed in enumerate(settings.prompt_seeds):
            values = first.loc[first["seed"] == seed, name] if name in first else pd.Series(dtype=float)
            _dot(right, row, number, values, settings)
    _rows(
        right,
        list(_SINKS.values()),
        "attention to the first vector,\ntimes an even share",
        "b  is the first one a sink",
    )
    right.axvline(1, color=colours.GREY, linewidth=0.8, linestyle="--")
    for number, seed in enumerate(settings.prompt_seeds):
        colour, marker = colours.series_look(number)
        right.plot([], [], marker, color=colour, markersize=4, label=f"seed {seed}")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axes, is_run in ((left, bool(len(ranked["saliency"]))), (right, bool(len(first)))):
        if not is_run:
            drawing.say(axes, "not run: see causal.tests")
    return drawing.finish(made, _caption(causal, settings))


def _first_vector(attention: pd.DataFrame) -> pd.DataFrame:
    """Return, per seed and question, the first vector's attention over the mean of all: a column per order."""
    if attention.empty:
        return pd.DataFrame(columns=["seed"])
    order = attention.columns.str.rpartition(":").get_level_values(0)
    means = attention.T.groupby(order).mean().T
    return pd.DataFrame({name: attention[f"{name}:0"] / means[name] for name in means}).reset_index()


def _dot(axes: Axes, row: int, number: int, values: pd.Series, settings: FiguresStage) -> None:
    """Draw a mean over questions with its interval."""
    if values.empty:
        return
    found = mean_interval(values, settings.statistics.confidence)
    y = row + drawing.dodge(number, len(settings.prompt_seeds), 0.5)
    colour, marker = colours.series_look(number)
    axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.2)
    axes.plot([found.value], [y], marker, color=colour, markersize=4)


def _rows(axes: Axes, labels: list[str], x: str, title: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel=x, ylim=(len(labels) - 0.5, -0.5), title=title)
    if title.startswith("a"):
        axes.axvline(0, color=colours.GREY, linewidth=0.8, linestyle="--")


def _caption(causal: pd.DataFrame, settings: FiguresStage) -> str:
    count = int(causal.loc[causal["test"] == "mask", "problem_id"].nunique())
    asked, level = wording.counted(count, "test question"), wording.level(settings)
    return (
        "Which measure says what a vector does? a: each prompt vector is set to 0 in turn; the effect is what that "
        "adds to the mean loss of the model's own rationale. Within a question, vectors are ranked by the effect and "
        f"by the measure; shown is the mean correlation over {asked}, with {level} intervals, per seed. Look whether "
        "saliency lies right of 0, and right of measures that need no backward pass; 0 or less means that it does not "
        "tell which vector matters. Attention and the length of A v (attention times the length of the value vector) "
        "are means over the shallow layers; gradient × input is |v · dL/dv|. b: attention to the prompt's first vector "
        "in the shallow layers, over the mean of all vectors, by what stands in front of the question; the token is a "
        "neutral one, the mean of all embeddings. A first vector that stands far above 1 only where it is at position "
        f"0 is a sink there, whatever it says. {wording.run(settings)}"
    )
