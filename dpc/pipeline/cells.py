"""The tables of several cells, read together."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.stats.statistics import seed_mean
from dpc.config.slices import ReportStage
from dpc.report.tables.main_tables import CELL
from dpc.storage import tables

OUTCOMES = ["problem_id", "plan", "candidate", "fired", "correct", "correct_lenient"]
"""Columns of table `outcomes` without texts, which fill the memory of a stage that reads all cells."""


def by_cell(
    paths: list[Path], name: str, settings: ReportStage, columns: list[str] | None = None
) -> dict[tuple[str, ...], pd.DataFrame]:
    """Return the tables of each cell, its seeds below each other, with a column `seed`: all columns, or those named.

    `paths` goes through models, then datasets, recipes and seeds, as `itertools.product` of those settings.
    """
    found: dict[tuple[str, ...], list[pd.DataFrame]] = {}
    lists = (settings.models, settings.datasets, settings.recipes, settings.prompt_seeds)
    for (*cell, seed), path in zip(itertools.product(*lists), paths, strict=True):
        found.setdefault(tuple(map(str, cell)), []).append(tables.read(path, name, columns).assign(seed=seed))
    return {cell: pd.concat(parts, ignore_index=True) for cell, parts in found.items()}


def labelled(paths: list[Path], name: str, settings: ReportStage, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the tables of all cells one after the other, with columns for model, dataset, recipe and seed."""
    cells = by_cell(paths, name, settings, columns)
    made = [rows.assign(**dict(zip(CELL, cell, strict=True))) for cell, rows in cells.items()]
    return pd.concat(made, ignore_index=True)


def accuracies(paths: list[Path], settings: ReportStage) -> pd.DataFrame:
    """Return accuracy per cell and plan with its interval over questions, conditional on the seeds.

    Plans that try several candidates per question are upper bounds without such an interval: left out.
    """
    rows: list[dict[str, Any]] = []
    whole = labelled(paths, "outcomes", settings, OUTCOMES)
    for cell, seeds in whole.groupby(CELL, sort=False):
        for plan, group in seeds.groupby("plan", sort=False):
            if (group["candidate"] < 0).all():
                rows.append(
                    {
                        **dict(zip(CELL, map(str, cell), strict=True)),
                        "plan": plan,
                        **_pool(group, settings),
                    }
                )
    columns = [*CELL, "plan", "questions", "accuracy", "low", "high", "seed_low", "seed_high"]
    return pd.DataFrame(rows, columns=[*columns, "lenient", "fired"])


def _pool(group: pd.DataFrame, settings: ReportStage) -> dict[str, Any]:
    """Return the accuracy of one plan over seeds x questions."""
    correct = group.pivot(index="seed", columns="problem_id", values="correct").astype(float)
    found = seed_mean(correct.to_numpy(), settings.statistics.confidence)
    by_seed = correct.mean(axis=1)
    return {
        "questions": found.n,
        "accuracy": found.value,
        "low": found.low,
        "high": found.high,
        "seed_low": by_seed.min(),
        "seed_high": by_seed.max(),
        "lenient": group["correct_lenient"].mean(),
        "fired": group["fired"].mean(),
    }
