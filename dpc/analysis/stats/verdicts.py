"""When a claim counts as supported: the rule, written before anyone looked at a number (`docs/claims.md`).

too little data   fewer than `POSITIVES` questions of the kind the claim is about, or no interval at all; or the claim
                  holds over questions, but the seeds are too few or too unlike to say that it holds for another seed;
                  or it compares right with wrong answers where right ones may be luck (`dpc/analysis/stats/chance.py`)
supported         over questions, given the seeds, the value lies on the claimed side and its p, corrected by Holm over
                  the cells compared, is below 1 - confidence; and the t interval over seeds lies on that side too
not supported     all else
not judged        there is no number to judge: a plan was not run, nothing can be estimated, or DPC or ACT changes no
                  answer by construction; the reason says which
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpc.analysis.stats.pooled import Pooled

SUPPORTED, NOT_SUPPORTED, TOO_LITTLE, NOT_JUDGED = "supported", "not supported", "too little data", "not judged"
POSITIVES = 30
"""Fewer questions than this of the kind a claim is about are too little data."""


@dataclass(frozen=True)
class Verdict:
    """A verdict and why."""

    verdict: str
    reason: str


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values corrected for the number of those that exist (Holm (1979), Scand. J. Statist. 6, 65-70)."""
    found = np.asarray(ps, dtype=np.float64)
    order = [int(i) for i in np.argsort(found) if not math.isnan(found[i])]
    corrected, running = np.full(found.size, math.nan), 0.0
    for place, number in enumerate(order):
        running = max(running, min(1.0, float(found[number]) * (len(order) - place)))
        corrected[number] = running
    return corrected.tolist()


def judge(
    found: Pooled, positives: int, corrected_p: float, confidence: float, null: float = 0.0, unit: str = "questions"
) -> Verdict:
    """Judge the claim that `found` exceeds `null` by the rule of this module; `unit` is what it was asked of."""
    if positives < POSITIVES:
        return Verdict(TOO_LITTLE, f"{positives} {unit} of the kind it is about, {POSITIVES} needed")
    if math.isnan(found.low):
        return Verdict(TOO_LITTLE, f"no interval over {unit}")
    if not corrected_p < 1 - confidence:
        return Verdict(NOT_SUPPORTED, f"no clear difference over {unit}")
    if not found.value > null:
        return Verdict(NOT_SUPPORTED, "other way round" + " for these seeds" * (not found.seed_high < null))
    if len(found.by_seed) < 2:
        return Verdict(TOO_LITTLE, "too few seeds to say anything about another")
    if math.isnan(found.seed_low):
        return Verdict(TOO_LITTLE, "no interval over seeds: the value lies on the edge of its scale")
    if not found.seed_low > null:
        return Verdict(TOO_LITTLE, f"holds for these {len(found.by_seed)} seeds; another one may differ")
    return Verdict(SUPPORTED, f"over {unit} and over seeds")
