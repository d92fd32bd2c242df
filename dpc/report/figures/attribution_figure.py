"""Which measure says what a prompt vector does? Ranks of five measures against the loss that masking a vector costs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.stats.statistics import mean_interval
from dpc.analysis.studies.causal import MEASURES, agreement, wide
from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.figures.causal_panels import Panel, draw_panels

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
    made, said = draw_panels(_PANELS, causal, settings, height=2.2 + 0.12 * len(settings.prompt_seeds))
    if said:
        _name_seeds(made.axes[-1], settings)
    return drawing.finish(made, f"{said}Intervals of {wording.level(settings)}, per seed. {wording.run(settings)}")


def _name_seeds(axes: Axes, settings: FiguresStage) -> None:
    for number, seed in enumerate(settings.prompt_seeds):
        colour, marker = colours.series_look(number)
        axes.plot([], [], marker, color=colour, markersize=4, label=f"seed {seed}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _ranks(axes: Axes, causal: pd.DataFrame, settings: FiguresStage) -> None:
    """Draw how each measure ranks vectors, against the effect of masking them."""
    for row, name in enumerate(MEASURES):
        found = agreement(causal, name)
        for number, seed in enumerate(settings.prompt_seeds):
            _dot(axes, row, number, found.loc[found["seed"] == seed, "value"], settings)
    _rows(axes, list(_LABELS.values()), "Spearman with the effect of masking")
    axes.axvline(0, color=colours.GREY, linewidth=0.8, linestyle="--")
    axes.set_xlim(-1.05, 1.05)


def _sinks(axes: Axes, causal: pd.DataFrame, settings: FiguresStage) -> None:
    """Draw attention to the first vector and, open, to the one that receives most without the token."""
    attention = wide(causal, "sink_attention")
    labels = _arrangements(attention)
    first, most = _attention_to(attention, is_most=False), _attention_to(attention, is_most=True)
    for row, name in enumerate(labels):
        for number, seed in enumerate(settings.prompt_seeds):
            for found, is_open in ((most, True), (first, False)):
                values = found.loc[found["seed"] == seed, name] if name in found else pd.Series(dtype=float)
                _dot(axes, row, number, values, settings, is_open)
    _rows(axes, list(labels.values()), "attention to a vector,\ntimes an even share")
    axes.axvline(1, color=colours.GREY, linewidth=0.8, linestyle="--")


def _arrangements(attention: pd.DataFrame) -> dict[str, str]:
    """Return what stands in front of the question, by target: both orders are one where the model reads no BOS."""
    bos_first, prompt_first = (
        attention.filter(regex=f"^{order}:").sort_index(axis=1).to_numpy() for order in ("bos_first", "prompt_first")
    )
    if not np.array_equal(bos_first, prompt_first):
        return _SINKS
    return {"bos_first:plain": "prompt", "bos_first:extra": "token, prompt"}


def _attention_to(attention: pd.DataFrame, is_most: bool) -> pd.DataFrame:
    """Return, per seed and question, attention to a vector over the mean of all: a column per target.

    The vector is the first one or, where `is_most`, that of the seed which receives most in this order without the
    token.
    """
    order = attention.columns.str.rpartition(":").get_level_values(0)
    means = attention.T.groupby(order).mean().T
    parts = []
    for _, rows in attention.groupby("seed"):
        mean, even = rows.mean(), means.loc[rows.index]
        chosen = {name: str(mean.filter(regex=f"^{str(name).partition(':')[0]}:plain:").idxmax()) for name in means}
        vector = {name: best.rpartition(":")[2] if is_most else "0" for name, best in chosen.items()}
        parts.append(pd.DataFrame({name: rows[f"{name}:{vector[name]}"] / even[name] for name in means}))
    return pd.concat(parts).reset_index()


def _dot(axes: Axes, row: int, number: int, values: pd.Series, settings: FiguresStage, is_open: bool = False) -> None:
    """Draw a mean over questions with its interval."""
    if values.empty:
        return
    found = mean_interval(values, settings.statistics.confidence)
    y = row + drawing.dodge(number, len(settings.prompt_seeds), 0.5)
    colour, marker = colours.series_look(number)
    axes.plot([found.low, found.high], [y, y], color=colour, linewidth=1.2)
    look = {"fillstyle": "none", "markersize": 7} if is_open else {"markersize": 4}
    axes.plot([found.value], [y], marker, color=colour, **look)


def _rows(axes: Axes, labels: list[str], x: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel=x, ylim=(len(labels) - 0.5, -0.5))


_PANELS = {
    "mask": Panel(
        "which measure ranks vectors",
        _ranks,
        "{at}: which measure says what a vector does? Each prompt vector is set to 0 in turn; the effect is what that "
        "adds to the mean loss of the model's own rationale. Within a question, vectors are ranked by the effect and "
        "by the measure; shown is the mean correlation over {questions}. Look whether saliency lies right of 0, and "
        "right of measures that need no backward pass; 0 or less means that it does not tell which vector matters. "
        "Attention and the length of A v (attention times the length of the value vector) are means over the shallow "
        "layers; gradient × input is |v · dL/dv|. ",
    ),
    "sink_attention": Panel(
        "is the first one a sink",
        _sinks,
        "{at}: attention to the prompt's first vector in the shallow layers, over the mean of all vectors, by what "
        "stands in front of the question, over {questions}; the token is a neutral one, the mean of all embeddings. "
        "Open: the same of the vector that receives most without the token. A first vector that stands far above 1 "
        "only where it is at position 0 is a sink there, whatever it says; a vector that stands there with a token in "
        "front, too, is a sink by itself. ",
    ),
}
"""What is drawn of each test."""
