"""Draw trigger quality, confounds and sensitivity of one model, dataset and recipe."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.stats.chance import is_luck
from dpc.analysis.studies import confounds
from dpc.analysis.studies import trigger_quality as trigger
from dpc.config.slices import ReportStage
from dpc.pipeline.cells import by_cell
from dpc.report import captions, drawing
from dpc.report.figures import evidence_figures as figures_evidence
from dpc.report.figures import sensitivity_figure as figures_sensitivity


def run(settings: ReportStage, *, evidence: list[Path], sensitivity: list[Path], folder: Path) -> None:
    """Write `folder`/{trigger,confounds,sensitivity}.{pdf,svg,txt}; lists hold one table per seed."""
    found = by_cell(evidence, "evidence", settings)
    (rows,), (swept,) = found.values(), by_cell(sensitivity, "sensitivity", settings).values()
    level = settings.statistics.confidence
    drawn = {
        "trigger": figures_evidence.trigger(trigger.curves(rows), trigger.quality(rows, level), settings),
        "confounds": figures_evidence.confounds(confounds.confounds(rows, level), settings),
        "sensitivity": figures_sensitivity.sensitivity(swept, settings),
    }
    told = captions.luck(list(found)) if is_luck(rows, captions.chance(settings), level) else ""
    for name, made in drawn.items():
        drawing.save(made.figure, folder / name, (told if name != "sensitivity" else "") + made.caption)
