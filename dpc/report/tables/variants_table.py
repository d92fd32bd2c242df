"""What DPC would do if saliency were measured in another way."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from dpc.analysis.studies import saliency_variants
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

WAYS = {
    "configured": "as configured",
    "abs_mean": "heads: mean of absolute values",
    "sum_abs": "heads: absolute value of the sum",
    "all": "loss: the whole rationale",
    "answer": "loss: the answer alone",
    "gold": "rationale: gold",
}
"""Ways to measure saliency (`dpc/analysis/studies/saliency_variants.py`)."""


@table(
    category="6 Evidence",
    caption=(
        "Does it matter how saliency is measured? What DPC would decide with another reduction over heads, another "
        "span of the loss, or the gold rationale."
    ),
    tables=("variants",),
)
def variants(tables: Tables, settings: TablesStage) -> Table:
    """Return one row per cell and way to measure saliency."""
    level = settings.statistics.confidence
    return build(tables.summed("variants", lambda rows: saliency_variants.summary(rows, level)), settings)


def build(summary: pd.DataFrame, settings: TablesStage) -> Table:
    """Return, per cell and way to measure saliency, what DPC would do; `summary` is of `saliency_variants`."""
    numbers = summary.reset_index(drop=True)
    is_configured = numbers["variant"] == "configured"
    text = numbers[CELL].astype(str)
    text["saliency measured"] = numbers["variant"].map(WAYS)
    text["R by seed"] = numbers["shares"]
    never, never_anew = (numbers[name] == "never" for name in ("shares", "shares_anew"))
    text["fires (%)"] = _bounded(numbers, "fire_rate", percents).mask(never, DASH)
    gains = zip(_bounded(numbers, "gain", percents).mask(never, DASH), numbers["outcomes"], strict=True)
    text["gain (points)"] = [wording.starred(gain, known) for gain, known in gains]
    text["R chosen again"] = numbers["shares_anew"]
    text["fires at it (%)"] = _bounded(numbers, "fire_rate_anew", percents).mask(never_anew, DASH)
    for label, name in (("same decision (%)", "same_decision"), ("same vector (%)", "same_vector")):
        text[label] = _bounded(numbers, name, percents).mask(is_configured, DASH)
    text["rank correlation"] = _bounded(numbers, "rank_correlation", bracketed).mask(is_configured, DASH)
    is_noted = numbers["note"] != ""
    text["AUC of S_IFP for wrong"] = _bounded(numbers, "auc", bracketed).mask(is_noted, numbers["note"])
    caption = _caption(numbers, settings)
    return Table("variants", "Does it matter how saliency is measured?", numbers, text, caption)


def _bounded(numbers: pd.DataFrame, name: str, write: Callable[..., str]) -> pd.Series[str]:
    rows = numbers[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False)
    return pd.Series([write(*row) for row in rows], index=numbers.index, dtype=object)


def _caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    questions = wording.count_range(numbers["questions"].astype(int).tolist())
    return (
        "Look for rows with other decisions or vectors: there DPC depends on a choice that the paper leaves open. "
        f"{questions} calibration questions per cell, the first by hash, are measured once in every way; each row "
        "changes one choice. Gold: the calibration question's gold rationale, teacher-forced: the row shows the "
        "flow of that rationale, not of the model's own. Right and wrong are the model's own answers throughout. R "
        "by seed (one value: the same for all) was chosen for the configured saliency on all calibration questions, "
        "so the gain of that row is too good. Gain: accuracy minus prompt tuning's (a star: some answers were not "
        "generated, so it is the fire rate times the mean over the fired questions whose answer is known; a dash: "
        "under some seed none is known, or no seed has an R and DPC never fires). R is also chosen again on these "
        "questions, by the same rule and with the "
        "row's own saliency, if the answer under the located vector is known for nine in ten of them (else "
        "unknown). Same decision and same vector: as configured, question by question, decisions under the seeds "
        "that have an R. Rank correlation: Spearman's, of the share of affected tokens with the configured one. "
        "AUC: how often S_IFP is larger in a wrong answer than in a right one; fewer than 30 different questions of "
        f"either kind are too little data. {wording.level(settings)} intervals over questions, conditional on the "
        f"seeds. As configured: {wording.saliency(settings)} {wording.method(settings)} {wording.run(settings)}"
    )
