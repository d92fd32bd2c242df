"""Make every figure and table that shows a cell, the recipes of a dataset, or the study."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

from dpc.config.declared import declared
from dpc.config.slices import ReportStage
from dpc.report import drawing, render
from dpc.report.cells import Tables
from dpc.report.exhibits import FIGURES, TABLES, Scope, of


def make(scope: Scope, files: list[Path], settings: ReportStage, folder: Path) -> Tables:
    """Draw the figures and write the tables of a scope; return what they were made from.

    `files` holds the tables that they declare, in the order of `dpc.report.cells.Tables`.
    """
    found = Tables(files, settings)
    draw_figures(of(scope, FIGURES), found, folder)
    write_tables(of(scope, TABLES), found, folder)
    return found


def draw_figures(names: Iterable[str], found: Tables, folder: Path) -> None:
    """Write `folder`/NAME.{pdf,svg,txt} (the caption) for each figure."""
    for name in names:
        module = declared("report/figures", "figure")[name].module.rpartition(".")[2]
        drawn = getattr(importlib.import_module(f"dpc.report.figures.{module}"), name)(found, found.settings)
        drawing.save(drawn.figure, folder / name, drawn.caption, found.origin(FIGURES[name].tables))


def write_tables(names: Iterable[str], found: Tables, folder: Path) -> None:
    """Write `folder`/NAME.{tex,csv,md,html} for each table."""
    for name in names:
        module = declared("report/tables", "table")[name].module.rpartition(".")[2]
        made = getattr(importlib.import_module(f"dpc.report.tables.{module}"), name)(found, found.settings)
        render.write(made, folder, found.origin(TABLES[name].tables))
