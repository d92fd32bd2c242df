"""Write the tables over all models, datasets and recipes."""

from __future__ import annotations

from pathlib import Path

from dpc.config.slices import TablesStage
from dpc.pipeline.cells import accuracies, labelled
from dpc.report import render
from dpc.report.tables import main_tables as report


def run(
    settings: TablesStage, *, outcomes: list[Path], evaluation: list[Path], findings: list[Path], folder: Path
) -> None:
    """Write `folder`/{main,ablation,cost,findings}.{tex,csv,md,html}.

    Lists go through models, then datasets, recipes and seeds, as `itertools.product` of those settings.
    """
    shares = accuracies(outcomes, settings)
    evaluations = labelled(evaluation, "evaluation", settings)
    for table in (
        report.main_table(shares, settings),
        report.ablation_table(evaluations, shares, settings),
        report.cost_table(evaluations, settings),
        report.findings_table(labelled(findings, "findings", settings), settings),
    ):
        render.write(table, folder)
