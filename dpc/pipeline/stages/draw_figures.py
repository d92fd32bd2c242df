"""Draw the figures of one model, dataset and recipe, and write its tables."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import FiguresStage
from dpc.config.stages import stage
from dpc.report.making import make

STAGE = stage(version=17)


def run(settings: FiguresStage, *, tables: list[Path], folder: Path) -> None:
    """Write `folder`/NAME.pdf, .svg and .txt (the caption) for every figure of the cell, and its tables."""
    make("cell", tables, settings, folder)
