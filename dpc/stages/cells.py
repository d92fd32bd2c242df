"""The tables of several cells, read together."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd

from dpc import tables
from dpc.report.tables import CELL
from dpc.stage_settings import ReportStage


def by_cell(paths: list[Path], name: str, settings: ReportStage) -> dict[tuple[str, ...], pd.DataFrame]:
    """Return the tables of each cell, its seeds below each other, with a column `seed`.

    `paths` goes through models, then datasets, recipes and seeds, as `itertools.product` of those settings.
    """
    found: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    lists = (settings.models, settings.datasets, settings.recipes, settings.prompt_seeds)
    for (*cell, seed), path in zip(itertools.product(*lists), paths, strict=True):
        found.setdefault(tuple(map(str, cell)), []).append(tables.read(path, name).assign(seed=seed))
    return {cell: pd.concat(parts, ignore_index=True) for cell, parts in found.items()}


def labelled(paths: list[Path], name: str, settings: ReportStage) -> pd.DataFrame:
    """Return the tables of all cells one after the other, with columns for model, dataset, recipe and seed."""
    cells = by_cell(paths, name, settings)
    made = [rows.assign(**dict(zip(CELL, cell, strict=True))) for cell, rows in cells.items()]
    return pd.concat(made, ignore_index=True)
