"""Draw trigger quality and confounds of one model, dataset and recipe."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc import tables
from dpc.analysis import confounds, trigger
from dpc.report import drawing, figures_evidence
from dpc.stage_settings import ReportStage


def run(settings: ReportStage, *, evidence: list[Path], folder: Path) -> None:
    """Write `folder`/{trigger,confounds}.pdf, .svg and .txt (the caption); `evidence` holds one table per seed."""
    read = [
        tables.read(path, "evidence").assign(seed=seed)
        for seed, path in zip(settings.prompt_seeds, evidence, strict=True)
    ]
    rows, level = pd.concat(read, ignore_index=True), settings.statistics.confidence
    drawn = {
        "trigger": figures_evidence.trigger(trigger.curves(rows), trigger.quality(rows, level), settings),
        "confounds": figures_evidence.confounds(confounds.confounds(rows, level), settings),
    }
    for name, made in drawn.items():
        drawing.save(made.figure, folder / name, made.caption)
