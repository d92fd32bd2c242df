"""Does corruption reduce the flow from the prompt, and is the fall larger in repaired answers?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from dpc.analysis.readings.flow import Instance, late_flow
from dpc.analysis.stats import pooled
from dpc.config.settings import Flow

OUTCOMES = {
    "repaired": (False, True),
    "still wrong": (False, False),
    "still right": (True, True),
    "broken": (True, False),
}
"""Right before and right after corruption."""
READINGS = ("flow_latter", "s_ifp", "nll")


def before_and_after(
    planned: pd.DataFrame, base: pd.DataFrame, corrupted: Iterable[Any], outcomes: pd.DataFrame, flow: Flow
) -> pd.DataFrame:
    """Return table `mechanism`: one row per row of `planned`.

    `base` is table `flow`, `corrupted` the rows of table `corrupted`. `flow_latter` is S[p→r_latter] over the deep
    layers, `s_ifp` its share (D20), `nll` the mean per token of the model's own rationale; after corruption they are of
    the new rationale under the corrupted prompt, and null where the plan did not fire.
    """
    before = _named(base[["problem_id", *READINGS]], "before")
    rows = [{"problem_id": r.problem_id, "edit_id": r.edit_id, **late_flow(Instance.of(r), flow)} for r in corrupted]
    after = _named(pd.DataFrame(rows, columns=["problem_id", "edit_id", *READINGS]), "after")
    right = outcomes[outcomes["plan"] == "prompt_tuning"].set_index("problem_id")["correct"]
    found = planned[["plan", "problem_id", "fired", "edit_id"]]
    measured = outcomes[outcomes["plan"].isin(planned["plan"])]  # an oracle may answer a question several times
    answered = measured[["plan", "problem_id", "correct"]].rename(columns={"correct": "correct_after"})
    found = found.merge(answered, on=["plan", "problem_id"], validate="one_to_one")
    found = found.assign(correct_before=found["problem_id"].map(right).astype(bool))
    found = found.merge(before, on="problem_id", validate="many_to_one")
    return found.merge(after, on=["problem_id", "edit_id"], how="left", validate="many_to_one")


def _named(readings: pd.DataFrame, when: str) -> pd.DataFrame:
    return readings.rename(columns={name: f"{name}_{when}" for name in READINGS})


def fired_rows(mechanism: pd.DataFrame) -> pd.DataFrame:
    """Return the fired rows with their `outcome` and `fall`, the natural logarithm of flow before over flow after."""
    fired = mechanism[mechanism["fired"]].dropna(subset=["flow_latter_before", "flow_latter_after"])
    labels = {pair: name for name, pair in OUTCOMES.items()}
    pairs = zip(fired["correct_before"].astype(bool), fired["correct_after"].astype(bool), strict=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = np.log(fired["flow_latter_before"].to_numpy(float) / fired["flow_latter_after"].to_numpy(float))
    return fired.assign(outcome=[labels[pair] for pair in pairs], fall=fall)


def summary(mechanism: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return, per plan and outcome of the fired rows (`all` first), how often and how far the flow fell.

    `mechanism` has the rows of all seeds and a column `seed`. Columns: plan, outcome, fired (rows: a question counts
    once per seed), fell (a share) with its interval over questions, ratio (median of flow before over after), s_ifp
    and nll (median fall).
    """
    rows = []
    for plan, group in fired_rows(mechanism).groupby("plan", sort=False):
        for outcome in ("all", *OUTCOMES):
            here = group if outcome == "all" else group[group["outcome"] == outcome]
            rows.append({"plan": plan, "outcome": outcome, **_fall(here, confidence)})
    return pd.DataFrame(rows, columns=["plan", "outcome", "fired", "fell", "low", "high", "ratio", "s_ifp", "nll"])


def _fall(rows: pd.DataFrame, confidence: float) -> dict[str, Any]:
    fell = pooled.share(rows["fall"] > 0, np.ones(len(rows)), rows["problem_id"], confidence)
    falls = {name: (rows[f"{name}_before"] - rows[f"{name}_after"]).median() for name in ("s_ifp", "nll")}
    ratio = float(np.exp(rows["fall"].median())) if len(rows) else np.nan
    return {"fired": len(rows), "fell": fell.value, "low": fell.low, "high": fell.high, "ratio": ratio, **falls}


def goes_with_repair(mechanism: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return, per plan and reading, the AUC of its fall for repair among fired rows that were wrong.

    Above 0.5: rows that are repaired fall further. NLL is the baseline: a fall in doubt needs no saliency. Areas are
    means over the seeds that have both repaired rows and others, `n` their rows; intervals are over questions.
    """
    fired = fired_rows(mechanism)
    wrong = fired[~fired["correct_before"].astype(bool)]
    rows = []
    for plan, group in wrong.groupby("plan", sort=False):
        falls = {
            "flow": group["fall"],
            "s_ifp": group["s_ifp_before"] - group["s_ifp_after"],
            "nll": group["nll_before"] - group["nll_after"],
        }
        rows += [{"plan": plan, "reading": name, **_area(group, fall, confidence)} for name, fall in falls.items()]
    return pd.DataFrame(rows, columns=["plan", "reading", "auc", "low", "high", "n"])


def _area(rows: pd.DataFrame, fall: pd.Series, confidence: float) -> dict[str, Any]:
    known = rows.assign(fall=fall)[fall.notna()]
    has_both = known.groupby("seed")["correct_after"].transform("nunique") == 2
    known = known[has_both]
    found = pooled.pool(
        pooled.auc, known["seed"], known["problem_id"], known["fall"], known["correct_after"].astype(bool),
        confidence=confidence, scale=pooled.LOGIT, null=0.5,
    )  # fmt: skip
    return {"auc": found.value, "low": found.low, "high": found.high, "n": len(known)}
