"""Is prompt tuning better than guessing? If not, right answers may be luck."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dpc.analysis.stats import pooled
from dpc.analysis.stats.statistics import proportion

BY_CORRECTNESS = (
    "auc_s_ifp", "auc_flow_latter", "auc_nll", "flow_ratio_wrong_right", "mean_s_ifp_right", "mean_s_ifp_wrong",
)  # fmt: skip
"""Findings that compare right with wrong instances."""


def is_luck(evidence: pd.DataFrame, chance: float, confidence: float) -> bool:
    """Return whether accuracy on the test questions, all seeds together, has an interval that reaches down to `chance`.

    `evidence` has a row per seed and question; the interval is over questions.
    """
    test = evidence[evidence["split"] == "test"]
    right = test["correct"].astype(bool)
    share = pooled.share(right, np.ones(len(test)), test["problem_id"], confidence)
    return len(test) > 0 and not share.low > chance


def mark(findings: pd.DataFrame, correct: pd.Series, chance: float, confidence: float) -> pd.DataFrame:
    """Return `findings` with one more, `accuracy`, the share of `correct` test answers.

    Where its interval reaches down to `chance`, it and all that compares right with wrong answers are `at_chance`: not
    interpretable.
    """
    share = proportion(int(correct.sum()), len(correct), confidence)
    row = {"name": "accuracy", "value": share.value, "low": share.low, "high": share.high, "n": len(correct)}
    rows = pd.concat([findings, pd.DataFrame([{**row, "p": float("nan"), "note": ""}])], ignore_index=True)
    is_meant = rows["name"].isin([*BY_CORRECTNESS, "accuracy"])
    return rows.assign(at_chance=is_meant & (not share.low > chance))
