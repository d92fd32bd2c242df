"""Draw the mechanism of one model, dataset and recipe, and write its table."""

from __future__ import annotations

from pathlib import Path

from dpc import tables
from dpc.report import drawing, mechanism, render
from dpc.stage_settings import MechanismReportStage


def run(settings: MechanismReportStage, *, mechanisms: list[Path], folder: Path) -> None:
    """Write `folder`/mechanism.{pdf,svg,txt} and .{tex,csv,md,html}; `mechanisms` holds one table per seed."""
    seeds = [tables.read(path, "mechanism") for path in mechanisms]
    drawn = mechanism.figure(seeds, settings)
    drawing.save(drawn.figure, folder / "mechanism", drawn.caption)
    render.write(mechanism.table(seeds, settings), folder)
