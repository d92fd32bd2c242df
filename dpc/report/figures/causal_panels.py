"""Panels of the figures that read table `causal`: one for each test that was run, lettered in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Generic, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dpc.report import drawing, wording

_About = TypeVar("_About")
_COLUMNS = 3


@dataclass(frozen=True)
class Panel(Generic[_About]):
    """What is drawn of one test."""

    title: str
    draw: Callable[[Axes, pd.DataFrame, _About], None]
    """Reads the axes, table `causal`, and what else the figure's panels read."""
    says: str
    """The caption's words; {at} is the panel's letter and {questions} how many were asked."""


def draw_panels(
    panels: Mapping[str, Panel[_About]], causal: pd.DataFrame, about: _About, height: float
) -> tuple[Figure, str]:
    """Return a figure with a panel for each test of `panels` that is in `causal`, and what its caption says of them.

    `height` is that of a row of panels in inches.
    """
    run = [test for test in panels if (causal["test"] == test).any()]
    rows = max(-(-len(run) // _COLUMNS), 1)
    made = drawing.new_figure(height * rows)
    if not run:
        drawing.say(made.subplots(), "not run: see causal.tests")
    said = []
    for place, (letter, test) in enumerate(zip(ascii_lowercase, run, strict=False), 1):
        panel = panels[test]
        axes = made.add_subplot(rows, -(-len(run) // rows), place)
        panel.draw(axes, causal, about)
        axes.set_title(f"{letter}  {panel.title}")
        asked = wording.counted(causal.loc[causal["test"] == test, "problem_id"].nunique(), "test question")
        said.append(panel.says.format(at=letter, questions=asked))
    return made, "".join(said)
