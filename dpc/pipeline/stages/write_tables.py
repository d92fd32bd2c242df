"""Write the tables over all models, datasets and recipes, and the summary of the study."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import TablesStage
from dpc.config.stages import stage
from dpc.report.making import make
from dpc.report.summary import summary as summed_up
from dpc.storage.files import atomic

STAGE = stage(version=14)


def run(settings: TablesStage, *, tables: list[Path], folder: Path, summary: Path) -> None:
    """Write `folder`/NAME.tex, .csv, .md and .html for every table of the study, and what it found in few lines."""
    found = make("study", tables, settings, folder)
    with atomic(summary) as temporary:
        temporary.write_text(summed_up(found, settings, summary.parent), encoding="utf-8")
