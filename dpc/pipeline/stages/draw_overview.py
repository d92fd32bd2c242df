"""Draw accuracy by plan for the recipes of one model and dataset, side by side."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import TablesStage
from dpc.pipeline.cells import accuracies
from dpc.report import drawing
from dpc.report.figures import intervention_figures as figures_main
from dpc.storage import tables


def run(settings: TablesStage, *, evaluation: list[Path], outcomes: list[Path], folder: Path) -> None:
    """Write `folder`/overview.pdf, .svg and .txt (the caption).

    `settings` names one model and one dataset; lists go through recipes, then seeds.
    """
    seeds = len(settings.prompt_seeds)
    read = [tables.read(path, "evaluation") for path in evaluation]
    cells = {recipe: read[number * seeds : (number + 1) * seeds] for number, recipe in enumerate(settings.recipes)}
    drawn = figures_main.overview(cells, accuracies(outcomes, settings), settings)
    drawing.save(drawn.figure, folder / "overview", drawn.caption)
