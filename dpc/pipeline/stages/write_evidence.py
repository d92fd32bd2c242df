"""Write the tables of the evidence: claims, trigger quality, confounds, sensitivity, ways to measure saliency."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.stats.chance import is_luck
from dpc.analysis.stats.power import planned_detectable
from dpc.analysis.studies import claims, confounds
from dpc.analysis.studies import saliency_variants as ways
from dpc.analysis.studies import trigger_quality as trigger
from dpc.config.slices import TablesStage
from dpc.pipeline.cells import OUTCOMES, by_cell
from dpc.report import captions, render
from dpc.report.tables import evidence_tables as report
from dpc.report.tables.main_tables import CELL
from dpc.tasks import get_task


def run(
    settings: TablesStage,
    *,
    evidence: list[Path],
    outcomes: list[Path],
    sensitivity: list[Path],
    variants: list[Path],
    mechanism: list[Path],
    folder: Path,
) -> None:
    """Write `folder`/{claims,trigger,confounds,sensitivity,variants}.{tex,csv,md,html}.

    Lists go through models, then datasets, recipes and seeds, as `itertools.product` of those settings.
    """
    lists = {"evidence": evidence, "mechanism": mechanism}
    read = {name: by_cell(paths, name, settings) for name, paths in lists.items()}
    read["outcomes"] = by_cell(outcomes, "outcomes", settings, OUTCOMES)
    if settings.act.mode == "released":  # for the record, nothing to beat
        read["outcomes"] = {cell: rows[rows["plan"] != "act"] for cell, rows in read["outcomes"].items()}
    level = settings.statistics.confidence
    chances = {name: get_task(settings.tasks[name]).CHANCE for name in settings.datasets}
    cells = {
        cell: claims.Cell(
            **{name: found[cell] for name, found in read.items()}, confidence=level, chance=chances[cell[1]]
        )
        for cell in read["evidence"]
    }
    by_luck = [cell for cell, one in cells.items() if is_luck(one.evidence, one.chance, level)]
    asked = {cell[1]: found["problem_id"].nunique() for cell, found in read["outcomes"].items()}
    seeds = len(settings.prompt_seeds)
    planned = {name: planned_detectable(count, seeds, len(cells), level) for name, count in asked.items()}
    for table in (
        report.claims_table(claims.judge_all(cells), settings, planned),
        report.trigger_table(_each(read["evidence"], lambda rows: trigger.quality(rows, level)), settings),
        report.confounds_table(_each(read["evidence"], lambda rows: confounds.confounds(rows, level)), settings),
        report.sensitivity_table(_each(by_cell(sensitivity, "sensitivity", settings), lambda rows: rows), settings),
        report.variants_table(
            _each(by_cell(variants, "variants", settings), lambda rows: ways.summary(rows, level)), settings
        ),
    ):
        told = captions.luck(by_luck) if table.name in ("trigger", "confounds") else ""
        render.write(replace(table, caption=told + table.caption), folder)


def _each(cells: dict[tuple[str, ...], pd.DataFrame], make: Any) -> pd.DataFrame:
    """Return what `make` finds in every cell, with columns for model, dataset and recipe."""
    made = [make(rows).assign(**dict(zip(CELL, cell, strict=True))) for cell, rows in cells.items()]
    whole = pd.concat(made, ignore_index=True)
    return whole[[*CELL, *(name for name in whole if name not in CELL)]]
