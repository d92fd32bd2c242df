"""Draw trigger quality, confounds and sensitivity of one model, dataset and recipe."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc import tables
from dpc.analysis import confounds, trigger
from dpc.report import drawing, figures_evidence, figures_sensitivity
from dpc.stage_settings import ReportStage


def run(settings: ReportStage, *, evidence: list[Path], sensitivity: list[Path], folder: Path) -> None:
    """Write `folder`/{trigger,confounds,sensitivity}.{pdf,svg,txt}; lists hold one table per seed."""
    rows, level = _read(evidence, "evidence", settings), settings.statistics.confidence
    drawn = {
        "trigger": figures_evidence.trigger(trigger.curves(rows), trigger.quality(rows, level), settings),
        "confounds": figures_evidence.confounds(confounds.confounds(rows, level), settings),
        "sensitivity": figures_sensitivity.sensitivity(_read(sensitivity, "sensitivity", settings), settings),
    }
    for name, made in drawn.items():
        drawing.save(made.figure, folder / name, made.caption)


def _read(paths: list[Path], name: str, settings: ReportStage) -> pd.DataFrame:
    """Return the seeds' tables below each other, with a column `seed`."""
    read = [tables.read(path, name).assign(seed=seed) for seed, path in zip(settings.prompt_seeds, paths, strict=True)]
    return pd.concat(read, ignore_index=True)
