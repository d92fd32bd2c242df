"""What is fitted on the calibration split alone: R, the significance limits, the static mask."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dpc.config.settings import Significance, Trigger


@dataclass(frozen=True)
class Limits:
    """What counts as significant, from right calibration cases; None where it cannot be estimated."""

    accumulation_z: float | None
    """D18: quantile of the located vector's z."""
    flow_change: float | None
    """D19: mean + so many standard deviations of S_IFP."""
    right_cases: int
    note: str


def limits(right: pd.DataFrame, settings: Significance) -> Limits:
    """Return the limits from the readings of `right` calibration cases (D18, D19).

    Fewer than `settings.min_cases` of them: not estimable, said in the note.
    """
    usable = right[["accumulation_z", "s_ifp"]].dropna()
    if len(usable) < settings.min_cases:
        note = f"not estimable: {len(usable)} right calibration cases, {settings.min_cases} needed"
        return Limits(None, None, len(usable), note)
    deviation = settings.flow_deviations * usable["s_ifp"].std(ddof=1)
    return Limits(
        float(usable["accumulation_z"].quantile(settings.accumulation_quantile)),
        float(usable["s_ifp"].mean() + deviation),
        len(usable),
        "",
    )


def threshold_curve(cases: pd.DataFrame, fired_at: dict[float, pd.Series]) -> pd.DataFrame:
    """Return, for each R, what firing there does on calibration.

    `cases` has `base_correct` (prompt tuning) and `corrupted_correct` (after DPC's edit); `fired_at` says per R which
    cases fire. Columns: see table `threshold_curve`; Youden's J is against "prompt tuning was wrong".
    """
    base, after = cases["base_correct"], cases["corrupted_correct"]
    rows = []
    for share, fired in sorted(fired_at.items()):
        fixed, broken = int((fired & ~base & after).sum()), int((fired & base & ~after).sum())
        hit = fired[~base].mean() if (~base).any() else math.nan
        false = fired[base].mean() if base.any() else math.nan
        rows.append(
            {
                "share": share,
                "fired": int(fired.sum()),
                "fixed": fixed,
                "broken": broken,
                "net": fixed - broken,
                "accuracy": float(after.where(fired, base).mean()),
                "youden": float(hit - false),
            }
        )
    return pd.DataFrame(rows)


def choose_share(curve: pd.DataFrame, base_accuracy: float, trigger: Trigger) -> tuple[float | None, str]:
    """Return R and a note (D10, D31): the R of the largest gain; ties go to the larger R; no gain means never fire."""
    if trigger.share != "fitted":
        return float(trigger.share), "fixed in the configuration"
    share = best_limit(curve, base_accuracy, trigger)
    if share is None:
        return None, f"never fire: no R has a positive {trigger.choose_by} on calibration"
    return share, f"largest {trigger.choose_by} on calibration"


def best_limit(curve: pd.DataFrame, base_accuracy: float, trigger: Trigger) -> float | None:
    """Return the limit (column `share`) of the largest gain, the larger of equal ones; None if none gains (D31)."""
    gain = {
        "net": curve["net"],
        "accuracy": curve["accuracy"] - base_accuracy,
        "youden": curve["youden"].fillna(-math.inf),
    }[trigger.choose_by]
    best = gain.max()
    return float(curve.loc[np.isclose(gain, best), "share"].max()) if best > 1e-12 else None


def score_grid(scores: pd.Series, trigger: Trigger) -> list[float]:
    """Return the limits tried for a score: its quantiles at the grid of R, so that it has as many tries as R."""
    present = scores.dropna()
    return sorted({float(present.quantile(q)) for q in trigger.grid}) if len(present) else []


def static_vector(tried: pd.DataFrame) -> tuple[int, str]:
    """Return the vector whose mask fixes most minus broken, and a note; −1 if none has a positive net or was tried.

    `tried` has one row per question and candidate: `candidate`, `base_correct`, `corrupted_correct`. Ties go to the
    smaller index.
    """
    gain = tried["corrupted_correct"].astype(int) - tried["base_correct"].astype(int)
    net = gain.groupby(tried["candidate"]).sum().sort_index()
    if net.empty:
        return -1, ""
    if net.max() <= 0:
        return -1, "no static mask helps on calibration"
    best = int(net.index[int(net.to_numpy().argmax())])
    return best, f"static mask: net {int(net.max())} on calibration"
