"""What changes if the prompt is changed: doses, cut attention, swapped states, forced tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from dpc.analysis.studies.causal import KEY, recovered, wide
from dpc.config.slices import FiguresStage
from dpc.report import colours, drawing, wording
from dpc.report.cells import Tables
from dpc.report.drawing import Drawing
from dpc.report.exhibits import figure
from dpc.report.figures.causal_panels import Panel, draw_panels

_KINDS = {"located": (colours.BLUE, "located"), "random": (colours.RED, "another"), "noise": (colours.GREY, "noise")}
_BANDS = ("shallow", "deep", "all")
_GROUPS = ((True, colours.RIGHT, "right"), (False, colours.WRONG, "wrong"))


@figure(
    category="6 Evidence",
    caption=(
        "Does the flow do the harm? Look for a dose curve of the located vector that is steeper than another's, for "
        "cuts that move wrong answers more than right ones, and for layers whose states mend."
    ),
    tables=("causal", "evidence"),
)
def interventions(tables: Tables, settings: FiguresStage) -> Drawing:
    """Draw dose curves, cuts, swapped states and forced tokens."""
    return draw(tables.stacked("causal"), tables.stacked("evidence"), settings)


def draw(causal: pd.DataFrame, evidence: pd.DataFrame, settings: FiguresStage) -> Drawing:
    """Draw a panel for each test that was run; lines and bars are means over seeds, marks are single seeds."""
    correct = evidence.set_index(KEY)["correct"].astype(bool)
    made, said = draw_panels(_PANELS, causal, correct, height=2.4)
    caption = (
        "Does the flow do the harm? Lines and bars: means over seeds and questions; dots: single seeds. "
        f"{said}Shallow, deep: flow.shallow_layers, flow.deep_layers. {wording.run(settings)}"
    )
    return drawing.finish(made, caption)


def _by_seed(values: pd.Series | pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(values.groupby(level="seed").mean())


def _doses(axes: Axes, rows: pd.DataFrame, unchanged: float, kinds: Sequence[str]) -> None:
    for kind in (name for name in kinds if f"{name}:0" in rows):
        own = rows[[target for target in map(str, rows) if target.startswith(f"{kind}:")]].mean()
        curve = pd.Series(
            {float(str(target).partition(":")[2]): value for target, value in own.items()} | {1.0: unchanged}
        )
        curve = curve.sort_index()
        colour, label = _KINDS[kind]
        axes.plot(curve.index, curve, "-o", color=colour, markersize=3, linewidth=1.2, label=label)
    axes.axvline(1, color=colours.GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="factor of the vector (1: as tuned)")
    axes.legend(loc="best")


def _bars(axes: Axes, names: Sequence[str], series: Sequence[tuple[pd.DataFrame, str, str]]) -> None:
    """Draw a group of bars per name: each series is seeds x names, with a colour and a label."""
    width = 0.8 / len(series)
    for number, (by_seed, colour, label) in enumerate(series):
        places = np.arange(len(names)) + (number + 0.5) * width - 0.4
        axes.bar(places, by_seed[list(names)].mean(), width, color=colour, alpha=0.55, label=label)
        for _, row in by_seed.iterrows():
            axes.plot(places, row[list(names)], "o", color=colours.BLACK, markersize=2.2)
    axes.set_xticks(range(len(names)), names)
    axes.axhline(0, color=colours.GREY, linewidth=0.8)


def _dose_loss(axes: Axes, causal: pd.DataFrame, _: pd.Series) -> None:
    axes.set(ylabel="added mean loss (nats)")
    _doses(axes, wide(causal, "dose_loss"), 0.0, ("located", "random", "noise"))


def _dose_right(axes: Axes, causal: pd.DataFrame, correct: pd.Series) -> None:
    right = wide(causal, "dose_right")
    axes.set(ylabel="share right")
    _doses(axes, right, float(correct.reindex(right.index).mean()), ("located", "random"))


def _cut_loss(axes: Axes, causal: pd.DataFrame, correct: pd.Series) -> None:
    axes.set(ylabel="added late loss (nats)", xlabel="layers")
    cuts = wide(causal, "cut_loss")
    shown = cuts[[f"{band}:prompt" for band in _BANDS]].set_axis(list(_BANDS), axis=1)
    is_right = correct.reindex(shown.index)
    _bars(axes, _BANDS, [(_by_seed(shown[is_right == own]), colour, label) for own, colour, label in _GROUPS])
    _legend_above(axes)


def _legend_above(axes: Axes) -> None:
    """Make room above the bars, which fill a panel, and put the legend there."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    axes.set(ylim=(low, high + 0.25 * (high - low)), yticks=ticks)
    axes.legend(loc="upper left", ncols=2, columnspacing=1.0)


def _path(axes: Axes, causal: pd.DataFrame, _: pd.Series) -> None:
    axes.set(ylabel="log-odds regained (nats)", xlabel="layers")
    _bars(axes, _BANDS, [(_by_seed(recovered(causal)), colours.GREEN, "")])


def _forced(axes: Axes, causal: pd.DataFrame, _: pd.Series) -> None:
    axes.set(ylabel="share of broken questions", ylim=(0, 1))
    names, forced = ("mended\nwith prompt", "broken\nwithout"), wide(causal, "divergence")
    shown = pd.DataFrame({names[0]: forced["prompted"], names[1]: 1 - forced["unprompted"]})
    _bars(axes, names, [(_by_seed(shown), colours.PURPLE, "")])


def _cut_right(axes: Axes, causal: pd.DataFrame, _: pd.Series) -> None:
    axes.set(ylabel="share right", xlabel="layers", ylim=(0, 1))
    right = wide(causal, "cut_right")
    series = [
        (_by_seed(right[[f"{band}:{what}" for band in _BANDS]].set_axis(list(_BANDS), axis=1)), colour, label)
        for what, colour, label in (("prompt", colours.BLUE, "prompt"), ("question", colours.GREY, "question"))
    ]
    _bars(axes, _BANDS, series)
    _legend_above(axes)


_PANELS = {
    "dose_loss": Panel(
        "dose: loss",
        _dose_loss,
        "{at}: on {questions}, the located vector is scaled, or another one, or the located one is "
        "disturbed by noise of the same length. If the located vector does harm, its loss moves most. ",
    ),
    "dose_right": Panel(
        "dose: accuracy",
        _dose_right,
        "{at}: what is then answered; if the located vector does harm, accuracy falls as its dose grows. ",
    ),
    "cut_loss": Panel(
        "cut to late steps",
        _cut_loss,
        "{at}: from the latter half on, no row sees the prompt in these layers; if deep flow to late steps does harm, "
        "wrong answers change more than right ones there. ",
    ),
    "path": Panel(
        "another seed's states",
        _path,
        "{at}: on {questions} that the prompt broke, log P of the right answer's text, given without a prompt, less "
        "that of the wrong one; shown is how far it rises if the prompt's keys and values come from another seed's "
        "prompt in these layers alone. ",
    ),
    "divergence": Panel(
        "one forced token",
        _forced,
        "{at}: on {questions} that the prompt broke, the first token at which both answers part is forced: how many go "
        "right under the prompt with the other token, and how many go wrong without it (read leniently). ",
    ),
    "cut_right": Panel(
        "cut: accuracy",
        _cut_right,
        "{at}: what is answered where late rows do not see the prompt, or as many columns of the question, in these "
        "layers. ",
    ),
}
"""Title, drawing and words of the caption by test; a test that was not run has no panel."""
