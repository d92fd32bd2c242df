"""Draw the mechanism of one model, dataset and recipe, and write its table."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.studies.flow_change import fired_rows, goes_with_repair, summary
from dpc.config.slices import MechanismReportStage
from dpc.pipeline.cells import by_cell
from dpc.report import drawing, render
from dpc.report.figures import mechanism_figure as mechanism


def run(settings: MechanismReportStage, *, mechanisms: list[Path], folder: Path) -> None:
    """Write `folder`/mechanism.{pdf,svg,txt} and .{tex,csv,md,html}; `mechanisms` holds one table per seed."""
    (whole,) = by_cell(mechanisms, "mechanism", settings).values()
    level = settings.statistics.confidence
    falls, repair = summary(whole, level), goes_with_repair(whole, level)
    compared = mechanism.Comparison(whole, fired_rows(whole), falls, repair)
    drawn = mechanism.figure(compared, settings)
    drawing.save(drawn.figure, folder / "mechanism", drawn.caption)
    render.write(mechanism.table(falls, settings), folder)
