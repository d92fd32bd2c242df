"""Draw trigger quality, confounds and sensitivity of one model, dataset and recipe."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis import confounds, trigger
from dpc.report import drawing, figures_evidence, figures_sensitivity
from dpc.stage_settings import ReportStage
from dpc.stages.cells import by_cell


def run(settings: ReportStage, *, evidence: list[Path], sensitivity: list[Path], folder: Path) -> None:
    """Write `folder`/{trigger,confounds,sensitivity}.{pdf,svg,txt}; lists hold one table per seed."""
    (rows,), (swept,) = (
        by_cell(paths, name, settings).values()
        for name, paths in (("evidence", evidence), ("sensitivity", sensitivity))
    )
    level = settings.statistics.confidence
    drawn = {
        "trigger": figures_evidence.trigger(trigger.curves(rows), trigger.quality(rows, level), settings),
        "confounds": figures_evidence.confounds(confounds.confounds(rows, level), settings),
        "sensitivity": figures_sensitivity.sensitivity(swept, settings),
    }
    for name, made in drawn.items():
        drawing.save(made.figure, folder / name, made.caption)
