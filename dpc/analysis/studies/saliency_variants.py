"""Does it matter how saliency is measured? The same calibration questions, measured with one choice changed at a time.

configured   as the configuration says
sum_abs      the other way to reduce heads (abs_mean, where sum_abs is configured)
answer       the other span of the loss (all, where answer is configured)
gold         as configured, but on the teacher-forced gold rationale: the flow is that rationale's, not the model's own

Answers, and whether they are right, are the model's own throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.analysis.readings.reading import TokenFlow, baseline_of, readings
from dpc.analysis.stats import pooled
from dpc.analysis.stats.pooled import FISHER, LOGIT, Pooled
from dpc.analysis.stats.verdicts import POSITIVES, TOO_LITTLE
from dpc.analysis.studies import sensitivity
from dpc.analysis.studies.sensitivity import Answers, Cases, Choice
from dpc.config.settings import Corrupt, Flow, Locate, Saliency, Trigger
from dpc.storage import tables

CONFIGURED, GOLD = "configured", "gold"
ORDER = (CONFIGURED, "abs_mean", "sum_abs", "all", "answer", GOLD)
OTHERS = {
    "head_reduce": {"abs_mean": "sum_abs", "sum_abs": "abs_mean"},
    "loss_span": {"all": "answer", "answer": "all"},
}
KNOWN = 0.9
"""R is chosen anew where the answers under the located vectors are known for so many of the questions."""
MEASURES = ("fire_rate", "gain", "fire_rate_anew", "same_decision", "same_vector", "rank_correlation", "auc")


def measurements(saliency: Saliency) -> dict[str, Saliency]:
    """Return every way of measuring by name; `gold` differs from `configured` in the rationale alone (D4)."""
    others = {}
    for key, other in OTHERS.items():
        value = other[getattr(saliency, key)]
        others[value] = saliency.model_copy(update={key: value})
    return {CONFIGURED: saliency, **others, GOLD: saliency}


@dataclass(frozen=True)
class Cell:
    """What is known of the measured questions."""

    right: pd.Series[bool]
    """By problem_id, under prompt tuning."""
    after: Answers
    share: float | None
    """The cell's R; None never fires."""
    z_limit: float | None
    """D18's, where the rule is `share_and_accumulation`."""


def compare(measured: pd.DataFrame, cell: Cell, choice: Choice) -> pd.DataFrame:
    """Return table `variants`; `measured` holds rows of table `flow` with a `variant`, `choice` is as configured.

    R is chosen anew as on calibration (D31), on these questions alone, where the answer under the vector that the
    measurement locates is known. A `trigger.baseline` of right cases comes from these questions too.
    """
    there = [name for name in ORDER if (measured["variant"] == name).any()]
    made = {name: _read(measured[measured["variant"] == name], cell, choice) for name in there}
    as_set = made[CONFIGURED]
    for name, rows in made.items():
        same = [set(a) == set(b) for a, b in zip(rows["located"], as_set["located"], strict=True)]
        made[name] = rows.assign(
            variant=name,
            same_vector=same,
            same_decision=rows["fired"] == as_set["fired"],
            configured_affected_share=as_set["affected_share"],
        )
    return pd.concat([rows.reset_index() for rows in made.values()], ignore_index=True)


def _read(measured: pd.DataFrame, cell: Cell, choice: Choice) -> pd.DataFrame:
    """Return one variant's readings by problem_id, in its order."""
    rows = list(tables.rows(measured))
    usual = baseline_of([TokenFlow.of_row(row) for row in rows if cell.right[row.problem_id]], choice.trigger, 1)
    found = readings(rows, choice.trigger, choice.locate, usual).set_index("problem_id").sort_index()
    base = cell.right.loc[found.index].astype(bool)
    cases = Cases(found["eligible"], base, cell.after, found["located"], cell.z_limit)
    after = cases.corrupted(found["located"], choice)
    known = after.notna()
    is_known = bool(known.mean() >= KNOWN)
    anew = sensitivity.fitted_share(choice, found, cases) if is_known else None
    fired = sensitivity.fires(choice, found, cases, cell.share)
    return found[["affected_share", "located", "s_ifp"]].assign(
        correct=base,
        share=cell.share,
        fired=fired,
        correct_after=after.where(fired, base.astype(float)).astype("boolean"),
        known=known,
        share_anew=anew,
        fired_anew=sensitivity.fires(choice, found, cases, anew) if is_known else None,
    )


def configured(flow: Flow, trigger: Trigger, locate: Locate, corrupt: Corrupt) -> Choice:
    """Return the configured choice."""
    return Choice("variant", "", "", flow, trigger, locate, corrupt)


def summary(rows: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return one row per variant: every one of MEASURES with its interval over questions, given the seeds.

    Decisions are compared under the seeds that have an R: where DPC never fires, all decisions are the same.
    `rows` is table `variants` of all seeds with a column `seed`. Other columns: variant, shares and shares_anew (R of
    each seed as text, once where all have the same), known and outcomes (shares of rows whose answer is
    known, after the located vector's edit and after the decision), questions, seeds, wrong and right (different
    questions), note (where these are too few for the AUC).
    """
    found = [{"variant": name, **_summed(own, confidence)} for name, own in rows.groupby("variant", sort=False)]
    columns = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    return pd.DataFrame(
        found,
        columns=[
            "variant",
            "questions",
            "seeds",
            "wrong",
            "right",
            "note",
            "known",
            "outcomes",
            "shares",
            "shares_anew",
            *columns,
        ],
    )


def _summed(rows: pd.DataFrame, confidence: float) -> dict[str, Any]:
    wrong, ids = ~rows["correct"].astype(bool), rows["problem_id"]
    counts = {name: int(ids[own].nunique()) for name, own in (("wrong", wrong), ("right", ~wrong))}
    made = _measures(rows, confidence)
    seeds = rows.drop_duplicates("seed")
    return {
        "questions": int(ids.nunique()),
        "seeds": len(seeds),
        **counts,
        "note": TOO_LITTLE if min(counts.values()) < POSITIVES else "",
        "known": float(rows["known"].mean()),
        "outcomes": float(rows["correct_after"].notna().mean()),
        "shares": _told(seeds["share"]),
        "shares_anew": _told(seeds["share_anew"], seeds["fired_anew"].notna()),
        **{f"{name}{end}": getattr(one, field) for name, one in made.items() for end, field in _ENDS.items()},
    }


def _told(shares: pd.Series, known: pd.Series | None = None) -> str:
    """Return R of each seed, once where all have the same."""
    texts = shares.map(lambda share: "never" if pd.isna(share) else f"{share:g}")
    texts = texts if known is None else texts.where(known, "unknown")
    return "; ".join(texts if texts.nunique() > 1 else texts[:1])


def _changes(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return the changes whose mean is the gain (`sensitivity.gains`), seed by seed."""
    after, changes = rows["correct_after"].astype("boolean").astype("Float64").astype(float), np.zeros(len(rows))
    for part in rows.groupby("seed").indices.values():
        own, base, fired = (column.iloc[part] for column in (after, rows["correct"], rows["fired"]))
        changes[part] = sensitivity.gains(own, base.astype(bool), fired.astype(bool))
    return changes


_ENDS = {"": "value", "_low": "low", "_high": "high"}


def _measures(rows: pd.DataFrame, confidence: float) -> dict[str, Pooled]:
    ids, every = rows["problem_id"], pd.Series(True, index=rows.index)

    def share(part: pd.Series) -> Pooled:
        return pooled.share(part.astype(bool), every, ids, confidence)

    anew, whole, decided = rows["fired_anew"], rows.dropna(subset=["s_ifp"]), rows["share"].notna()
    nothing, change = pooled.share([], [], [], confidence), _changes(rows)
    return {
        "fire_rate": share(rows["fired"]),
        "gain": nothing if np.isnan(change).any() else pooled.gain(change, 0 * change, rows["seed"], ids, confidence),
        "fire_rate_anew": share(anew) if anew.notna().all() else nothing,
        "same_decision": pooled.share(rows["same_decision"] & decided, decided, ids, confidence),
        "same_vector": share(rows["same_vector"]),
        "rank_correlation": pooled.pool(
            pooled.rank_correlation, rows["seed"], ids, rows["affected_share"], rows["configured_affected_share"],
            confidence=confidence, scale=FISHER,
        ),
        "auc": pooled.pool(
            pooled.auc, whole["seed"], whole["problem_id"], whole["s_ifp"], ~whole["correct"].astype(bool),
            confidence=confidence, scale=LOGIT, null=0.5,
        ),
    }  # fmt: skip
