"""How good the trigger is on calibration and on test, and the difference."""

from __future__ import annotations

import pandas as pd

from dpc.analysis.studies import trigger_quality
from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.table_text import (
    CELL,
    Table,
    bracketed,
    percents,
)
from dpc.report.wording import DASH

TARGETS = {"broken": "the prompt broke it", "wrong": "wrong"}
MEASURES = {
    "base_rate": "of all (%)", "fire_rate": "fires (%)", "at_random": "at random, same rates (%)",
    "precision": "precision (%)", "recall": "recall (%)", "roc_auc": "ROC area", "pr_auc": "PR area",
}  # fmt: skip
_AREAS = ("roc_auc", "pr_auc")


@table(
    category="6 Evidence",
    caption=(
        "Does the trigger pick the right questions? Precision, recall and areas under the curves, on calibration "
        "and on test, and the difference."
    ),
    tables=("evidence",),
)
def trigger(tables: Tables, settings: TablesStage) -> Table:
    """Return the trigger's quality, per cell and target."""
    level = settings.statistics.confidence
    quality = tables.summed("evidence", lambda rows: trigger_quality.quality(rows, level))
    return build(quality, settings, tables.luck())


def build(quality: pd.DataFrame, settings: TablesStage, luck: str = "") -> Table:
    """Return, per cell and target, the trigger's quality on calibration, on test, and the shift."""
    numbers = quality.reset_index(drop=True)
    rows = []
    for (*cell, name, split), here in numbers.groupby([*CELL, "target", "split"], sort=False):
        base = here.iloc[0]
        rows.append(
            {
                **dict(zip(CELL, map(str, cell), strict=True)),
                "target": TARGETS[str(name)],
                "split": {"shift": "test − calibration"}.get(str(split), str(split)),
                "positives / questions": DASH if split == "shift" else f"{base['positives']} / {base['questions']}",
                **{label: _measured(here[here["measure"] == measure].iloc[0]) for measure, label in MEASURES.items()},
            }
        )
    columns = [*CELL, "target", "split", "positives / questions", *MEASURES.values()]
    text = pd.DataFrame(rows, columns=columns)
    return Table("trigger", "Does the trigger pick the right questions?", numbers, text, luck + _caption(settings))


def _measured(row: pd.Series) -> str:
    if row["note"]:
        return str(row["note"])
    write = bracketed if row["measure"] in _AREAS else percents
    return write(row["value"], row["low"], row["high"])


def _caption(settings: TablesStage) -> str:
    return (
        "Look for precision well above that at random, and ROC areas above 0.5; otherwise the trigger is no better "
        "than chance. Broken: right without the prompt and wrong with it. Precision: share of fired questions that "
        "are of the kind; recall: share of the kind that fire, at each seed's R, both pooled over seeds. At random, "
        "same rates: the precision of as many questions per seed drawn at random from the eligible ones; a seed "
        "that fires more counts more, as in precision. For the areas under the ROC and the precision-recall curve, "
        "eligible questions are ranked by their share of affected tokens; those without an answer, or too short, "
        "are not eligible. Positives are different questions; fewer than 30 are too little data. "
        f"{wording.level(settings)} intervals over questions, conditional on the seeds. R was chosen on "
        f"calibration, so its figures are too good. {wording.method(settings)} {wording.run(settings)}"
    )
