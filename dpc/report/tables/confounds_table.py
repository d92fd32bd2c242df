"""How the readings go with error, alone and given confidence, length and steps."""

from __future__ import annotations

import pandas as pd

from dpc.analysis.studies import confounds as measuring
from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.table_text import (
    CELL,
    Table,
    bracketed,
    p_texts,
    percents,
    ranged,
)
from dpc.report.wording import DASH


@table(
    category="6 Evidence",
    caption=(
        "Correlation of accumulation, flow change and S_IFP with error, alone and given confidence, length and "
        "steps; nested logistic models."
    ),
    tables=("evidence",),
)
def confounds(tables: Tables, settings: TablesStage) -> Table:
    """Return one row per cell and reading."""
    level = settings.statistics.confidence
    found = tables.summed("evidence", lambda rows: measuring.confounds(rows, level))
    return build(found, settings, tables.luck())


def build(confounds: pd.DataFrame, settings: TablesStage, luck: str = "") -> Table:
    """Return, per cell and reading, how it goes with error, alone and given confidence, length and steps."""
    numbers = confounds.reset_index(drop=True)
    text = numbers[CELL].astype(str)
    text["reading"] = numbers["reading"].map(wording.READINGS)
    for column, label in (("raw", "alone"), ("partial", "given NLL, length, steps")):
        rows = numbers[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False)
        text[label] = [bracketed(*row) for row in rows]
    text["over seeds"] = [ranged(*row) for row in numbers[["seed_low", "seed_high"]].itertuples(index=False)]
    text["likelihood ratio p per seed"] = numbers["likelihood_ratio_p"].map(p_texts)
    firsts = numbers[["first", "first_low", "first_high"]].itertuples(index=False)
    text["first vector located (%)"] = [percents(*row) for row in firsts]
    text["wrong / questions"] = [f"{w} / {n}" for w, n in zip(numbers["wrong"], numbers["questions"], strict=True)]
    text["note"] = numbers["note"].replace("", DASH)
    return Table("confounds", "Is it only confidence, length or the first position?", numbers, text,
                 luck + _caption(settings))  # fmt: skip


def _caption(settings: TablesStage) -> str:
    return (
        "Look for correlations that differ from 0 given the confounds. A correlation that vanishes there was only "
        "the model's confidence, the rationale's length or the question's size. Rank correlation (Spearman's) of "
        "each reading with error over the test questions, alone and given mean NLL, rationale length in tokens and "
        f"steps of the gold rationale, with {wording.level(settings)} intervals over questions, conditional on the "
        "seeds, and a t interval over seeds. Likelihood ratio: logistic models of error with and without the "
        f"reading, one p per seed. The prompt's first vector is at {wording.first_vector(settings)}. "
        f"{wording.position_0(settings)}{wording.saliency(settings)} {wording.run(settings)}"
    )
