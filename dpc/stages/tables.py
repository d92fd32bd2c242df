"""Write the tables over all models, datasets and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.statistics import seed_mean
from dpc.report import render
from dpc.report import tables as report
from dpc.stage_settings import TablesStage
from dpc.stages.cells import labelled


def run(
    settings: TablesStage, *, outcomes: list[Path], evaluation: list[Path], findings: list[Path], folder: Path
) -> None:
    """Write `folder`/{main,ablation,cost,findings}.{tex,csv,md,html}.

    Lists go through models, then datasets, recipes and seeds, as `itertools.product` of those settings.
    """
    accuracies = _accuracies(outcomes, settings)
    evaluations = labelled(evaluation, "evaluation", settings)
    for table in (
        report.main_table(accuracies, settings),
        report.ablation_table(evaluations, accuracies, settings),
        report.cost_table(evaluations, settings),
        report.findings_table(labelled(findings, "findings", settings), settings),
    ):
        render.write(table, folder)


def _accuracies(paths: list[Path], settings: TablesStage) -> pd.DataFrame:
    """Return accuracy per cell and plan with its interval over questions, conditional on the seeds.

    Plans that try several candidates per question are upper bounds without such an interval: left out.
    """
    rows: list[dict[str, Any]] = []
    whole = labelled(paths, "outcomes", settings)
    for cell, seeds in whole.groupby(report.CELL, sort=False):
        for plan, group in seeds.groupby("plan", sort=False):
            if (group["candidate"] < 0).all():
                rows.append(
                    {
                        **dict(zip(report.CELL, map(str, cell), strict=True)),
                        "plan": plan,
                        **_pool(group, settings),
                    }
                )
    columns = [*report.CELL, "plan", "questions", "accuracy", "low", "high", "seed_low", "seed_high"]
    return pd.DataFrame(rows, columns=[*columns, "lenient", "fired"])


def _pool(group: pd.DataFrame, settings: TablesStage) -> dict[str, Any]:
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
