"""Draw the figures that compare the recipes of one model and dataset."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import ReportStage
from dpc.config.stages import stage
from dpc.report.making import make

STAGE = stage(version=7)


def run(settings: ReportStage, *, tables: list[Path], folder: Path) -> None:
    """Write `folder`/NAME.pdf, .svg and .txt (the caption); `settings` names one model and one dataset."""
    make("recipes", tables, settings, folder)
