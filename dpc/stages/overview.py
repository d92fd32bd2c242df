"""Draw accuracy by plan for the recipes of one model and dataset, side by side."""

from __future__ import annotations

from pathlib import Path

from dpc import tables
from dpc.report import drawing, figures_main
from dpc.stage_settings import TablesStage
from dpc.stages.cells import accuracies


def run(settings: TablesStage, *, evaluation: list[Path], outcomes: list[Path], folder: Path) -> None:
    """Write `folder`/overview.pdf, .svg and .txt (the caption).

    `settings` names one model and one dataset; lists go through recipes, then seeds.
    """
    seeds = len(settings.prompt_seeds)
    read = [tables.read(path, "evaluation") for path in evaluation]
    cells = {recipe: read[number * seeds : (number + 1) * seeds] for number, recipe in enumerate(settings.recipes)}
    drawn = figures_main.overview(cells, accuracies(outcomes, settings), settings)
    drawing.save(drawn.figure, folder / "overview", drawn.caption)
