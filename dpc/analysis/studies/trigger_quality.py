"""How good the trigger is: against "the prompt broke it" and "wrong", on calibration and on test, and the difference.

The trigger fires at the R of each seed. Areas and curves rank by the share of affected tokens the questions that may
fire (D27): the others are wrong by their lack of an answer, and no share could rank them. Calibration chose R, so its
numbers flatter; test numbers are the finding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dpc.analysis.stats import pooled
from dpc.analysis.stats.pooled import LOGIT, Pooled
from dpc.analysis.stats.verdicts import POSITIVES, TOO_LITTLE

CURVES = ["score", "false_rate", "recall", "precision", "target", "split", "seed", "fired", "at_random"]
SPLITS = ("calibration", "test")
MEASURES = ("base_rate", "fire_rate", "at_random", "precision", "recall", "roc_auc", "pr_auc")
_RATES = ("base_rate", "fire_rate", "at_random")
_OF_FIRING = ("fire_rate", "at_random", "precision", "recall")
NEVER = "never fires"
"""What is noted of the rates of firing where no question fires: their 0 is no estimate, and has no interval."""
COLUMNS = [
    "target",
    "split",
    "measure",
    "value",
    "low",
    "high",
    "seed_low",
    "seed_high",
    "questions",
    "positives",
    "note",
]


def target(evidence: pd.DataFrame, name: str) -> pd.Series[bool]:
    """Return which rows are `broken` (right without the prompt, wrong with it) or `wrong`."""
    wrong = ~evidence["correct"].astype(bool)
    return wrong & evidence["correct_unprompted"].astype(bool) if name == "broken" else wrong


def quality(evidence: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return every measure of one cell: columns `COLUMNS`, split `shift` being test - calibration.

    `evidence` has the rows of all seeds and a column `seed`. Intervals are over questions, given the seeds.
    """
    rows = []
    for name in ("broken", "wrong"):
        found = {split: _measures(evidence[evidence["split"] == split], name, confidence) for split in SPLITS}
        rows += [_row(name, split, measure, counted) for split, counted in found.items() for measure in MEASURES]
        rows += [_shift(name, measure, found["calibration"], found["test"]) for measure in MEASURES]
    return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class _Counted:
    """The measures of one split, and of how many different questions."""

    measures: dict[str, Pooled]
    questions: int
    positives: int


def _measures(rows: pd.DataFrame, name: str, confidence: float) -> _Counted:
    hit, fired, ids = target(rows, name), rows["fired"].astype(bool), rows["problem_id"]
    every, both, may = pd.Series(True, index=rows.index), hit & fired, rows["eligible"].astype(bool)
    ranked = rows[may]
    by_rank: dict[str, Callable[..., pooled.Result]] = {"roc_auc": pooled.auc, "pr_auc": pooled.average_precision}
    made = {
        "base_rate": pooled.share(hit, every, ids, confidence),
        "fire_rate": pooled.share(fired, every, ids, confidence),
        "at_random": _at_random(rows, hit, confidence),
        "precision": pooled.share(both, fired, ids, confidence),
        "recall": pooled.share(both, hit, ids, confidence),
        **{
            measure: pooled.pool(
                statistic,
                ranked["seed"],
                ids[may],
                ranked["affected_share"],
                hit[may],
                confidence=confidence,
                scale=LOGIT,
                null=0.5,
            )
            for measure, statistic in by_rank.items()
        },
    }
    return _Counted(made, int(ids.nunique()), int(ids[hit].nunique()))


def _at_random(rows: pd.DataFrame, hit: pd.Series[bool], confidence: float) -> Pooled:
    """Return the precision of firing at random, in each seed on as many of the questions that may fire (D27).

    A seed weighs as much as it fires; the weights have mean 1 over these questions.
    """
    counts = rows.astype({"fired": float, "eligible": float}).groupby(rows["seed"])[["fired", "eligible"]]
    fired, eligible = (counts.transform("sum")[name] for name in ("fired", "eligible"))
    weight = (fired / eligible).where(rows["eligible"].astype(bool), 0.0)
    weight *= rows["eligible"].sum() / weight.sum() if weight.any() else 0.0
    return pooled.share(hit * weight, weight, rows["problem_id"], confidence)


def _row(name: str, split: str, measure: str, counts: _Counted) -> dict[str, object]:
    made = counts.measures[measure]
    few = counts.positives < POSITIVES and measure not in _RATES
    never = measure in _OF_FIRING and not counts.measures["fire_rate"].value and not few
    return {
        "target": name, "split": split, "measure": measure, "value": made.value, "low": made.low, "high": made.high,
        "seed_low": made.seed_low, "seed_high": made.seed_high, "questions": counts.questions,
        "positives": counts.positives, "note": TOO_LITTLE if few else NEVER if never else "",
    }  # fmt: skip


def _shift(name: str, measure: str, before: _Counted, after: _Counted) -> dict[str, object]:
    gap, low, high = pooled.difference(after.measures[measure], before.measures[measure])
    few = min(before.positives, after.positives) < POSITIVES and measure not in _RATES
    never = measure in _OF_FIRING and not (before.measures["fire_rate"].value or after.measures["fire_rate"].value)
    return {
        "target": name, "split": "shift", "measure": measure, "value": gap, "low": low, "high": high,
        "seed_low": math.nan, "seed_high": math.nan, "questions": after.questions,
        "positives": min(before.positives, after.positives),
        "note": TOO_LITTLE if few else NEVER if never else "",
    }  # fmt: skip


def curves(evidence: pd.DataFrame) -> pd.DataFrame:
    """Return the ROC and precision-recall curves: one row per target, split, seed and level of the score.

    All of the questions that may fire. Columns: target, split, seed, score, false_rate (share of the others that fire),
    recall, precision, fired (the level down to which the seed's R fires), at_random (precision of firing at random).
    """
    made = []
    for name in ("broken", "wrong"):
        for _, rows in evidence[evidence["eligible"].astype(bool)].groupby(["split", "seed"], sort=False):
            split, seed = rows["split"].iloc[0], rows["seed"].iloc[0]
            points = curve(rows["affected_share"], target(rows, name))
            lowest = rows["affected_share"][rows["fired"].astype(bool)].min()
            of = {"target": name, "split": split, "seed": seed, "at_random": target(rows, name).mean()}
            made.append(points.assign(**of, fired=points["score"] == lowest))
    return pd.concat(made, ignore_index=True) if made else pd.DataFrame(columns=CURVES)


def curve(scores: pd.Series[float], hit: pd.Series[bool]) -> pd.DataFrame:
    """Return one row per level of the score, highest first, with what firing from there on does.

    Columns: score, false_rate (of the others, fired), recall, precision.
    """
    levels, place = np.unique(-scores.to_numpy(), return_inverse=True)
    found = np.cumsum(np.bincount(place, hit.to_numpy(dtype=float), minlength=levels.size))
    told = np.cumsum(np.bincount(place, minlength=levels.size))
    positives, others = max(int(hit.sum()), 1), max(int((~hit).sum()), 1)
    return pd.DataFrame(
        {
            "score": -levels,
            "false_rate": (told - found) / others,
            "recall": found / positives,
            "precision": found / told,
        }
    )
