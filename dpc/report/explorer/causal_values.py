"""What interventions on a question found, as its case shows them: rows of table `causal`."""

from __future__ import annotations

import pandas as pd

from dpc.analysis.studies.causal import MEASURES, agreement
from dpc.storage import tables

SHOWN = ("mask", "dose_loss", "dose_right", "cut_loss", "cut_gold", "cut_right", "path", "divergence", "sink_mask")
"""Tests whose values a case shows one by one; of what else is measured of vectors, how it ranks them."""
Causes = dict[str, dict[str, float]]
"""By test and target."""


def of_questions(causal: pd.DataFrame) -> dict[str, Causes]:
    """Return what each question of table `causal` shows, with three digits.

    `agreement` is no test: Spearman's correlation, over the vectors, of each measure with the effect of masking them.
    """
    one = causal.assign(seed=0)
    ranks = [agreement(one, name).assign(test="agreement", target=name) for name in MEASURES]
    found = dict[str, Causes]()
    for row in tables.rows(pd.concat([causal[causal["test"].isin(SHOWN)], *ranks])):
        found.setdefault(row.problem_id, {}).setdefault(row.test, {})[row.target] = float(f"{row.value:.3g}")
    return found
