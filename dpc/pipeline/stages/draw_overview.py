"""Draw the figures and write the tables that compare the recipes of one model and dataset."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import ReportStage
from dpc.config.stages import stage
from dpc.report.making import make

STAGE = stage(version=10)


def run(settings: ReportStage, *, tables: list[Path], folder: Path) -> None:
    """Write every figure and table of this scope into `folder`; `settings` names one model and one dataset."""
    make("recipes", tables, settings, folder)
