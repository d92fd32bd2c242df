"""Write the tables over all models, datasets and recipes."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import TablesStage
from dpc.config.stages import stage
from dpc.report.making import make

STAGE = stage(version=10)


def run(settings: TablesStage, *, tables: list[Path], folder: Path) -> None:
    """Write `folder`/NAME.tex, .csv, .md and .html for every table of the study."""
    make("study", tables, settings, folder)
