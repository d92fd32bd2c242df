"""Fit R, the significance limits and the one static mask on the calibration split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings import reading
from dpc.analysis.readings.baseline import NOTHING
from dpc.analysis.studies import limits as thresholds
from dpc.config.slices import ThresholdsStage
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.pipeline.progress import log
from dpc.plans import triggers
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=3)

SPLIT = "calibration"


def run(
    settings: ThresholdsStage,
    *,
    flow: Path,
    base: Path,
    regenerated: Path,
    plans: Path,
    out: Path,
    curve: Path,
) -> None:
    """Write tables `thresholds` (one row) and `threshold_curve` (one row per R).

    `base` and `regenerated` are verdicts on prompt tuning's answers and on those of the edits in `plans`. Raises
    DpcError if a row of another split reaches this stage through its plans or verdicts.
    """
    before, after = (tables.read(path, "verdicts") for path in (base, regenerated))
    if ({*before["split"], *after["split"]}) - {SPLIT}:
        raise DpcError("thresholds: found verdicts on another split; expected calibration only")
    cases = _cases(before, after, tables.read(plans, "plans"))
    right = set(cases.loc[cases["base_correct"], "problem_id"])
    rows = [row for row in tables.scan(flow, "flow") if row.split == SPLIT]
    cases_right = [reading.TokenFlow.of_row(row) for row in rows if row.problem_id in right]
    usual = reading.baseline_of(cases_right, settings.trigger, settings.significance.min_cases)
    readings = reading.readings(rows, settings.trigger, settings.locate, usual)
    limits = thresholds.limits(readings[readings["problem_id"].isin(right)], settings.significance)
    fired = _fit(settings, readings, cases, limits)
    fitted = _chosen(settings, readings, cases, limits, fired) | (usual.columns() if usual else NOTHING)
    about = provenance("fit_thresholds", settings)
    tables.write(out, "thresholds", pd.DataFrame([fitted]), about)
    tables.write(curve, "threshold_curve", fired.assign(chosen=fired["share"] == fitted["share"]), about)


def _chosen(
    settings: ThresholdsStage,
    readings: pd.DataFrame,
    cases: pd.DataFrame,
    limits: thresholds.Limits,
    rows: pd.DataFrame,
) -> dict[str, Any]:
    """Return the row of table `thresholds`, the baseline of D9 aside, and log it; `rows` is the curve."""
    before = float(_tried(cases, "always")["base_correct"].mean())
    share, reason = thresholds.choose_share(rows, before, settings.trigger)
    vector, static_reason = thresholds.static_vector(_tried(cases, "static_candidates"))
    note = "; ".join(text for text in (reason, static_reason, limits.note) if text)
    log.info("R %s, static vector %d: %s", "never fires" if share is None else f"= {share:g}", vector, note)
    return {
        "share": share,
        "net": int(rows.loc[rows["share"] == share, "net"].sum()) if share is not None else 0,
        "accumulation_z_limit": limits.accumulation_z,
        "s_ifp_limit": limits.flow_change,
        "static_vector": vector,
        **_score_limits(settings, readings, cases),
        "right_cases": limits.right_cases,
        "calibration_questions": len(readings),
        "note": note,
    }


def _cases(base: pd.DataFrame, regenerated: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """Return one row per calibration plan row: what prompt tuning and what the edit came to."""
    before = base.set_index("problem_id")["correct"]
    if strange := set(planned["problem_id"]) - set(before.index):
        raise DpcError(
            f"thresholds: found a plan for {min(strange)!r}, which is no calibration question; run plan again"
        )
    after = regenerated[["problem_id", "edit_id", "correct"]]
    joined = planned.merge(after, on=["problem_id", "edit_id"], how="left", validate="many_to_one")
    if joined["correct"].isna().any():
        raise DpcError("thresholds: a planned edit was not regenerated; run regenerate for the calibration split again")
    return pd.DataFrame(
        {
            "problem_id": joined["problem_id"],
            "plan": joined["plan"],
            "candidate": joined["candidate"],
            "base_correct": joined["problem_id"].map(before).astype(bool),
            "corrupted_correct": joined["correct"].astype(bool),
        }
    )


def _tried(cases: pd.DataFrame, plan: str) -> pd.DataFrame:
    return cases[cases["plan"] == plan].reset_index(drop=True)


def _score_limits(settings: ThresholdsStage, readings: pd.DataFrame, cases: pd.DataFrame) -> dict[str, float | None]:
    """Return the limit of each simpler trigger, fitted as R is: on the same cases, from as many values (D31)."""
    always = readings.merge(_tried(cases, "always"), on="problem_id", validate="one_to_one")
    before, limits = float(always["base_correct"].mean()), dict[str, float | None]()
    for score in triggers.SCORES:
        grid = thresholds.score_grid(always.loc[always["eligible"], score], settings.trigger)
        fired_at = {limit: triggers.fires_on_score(always, score, limit) for limit in grid}
        curve = thresholds.threshold_curve(always, fired_at)
        limits[f"{score}_limit"] = thresholds.best_limit(curve, before, settings.trigger) if grid else None
    log.info("limits of simpler triggers: %s", limits)
    return limits


def _fit(
    settings: ThresholdsStage, readings: pd.DataFrame, cases: pd.DataFrame, limits: thresholds.Limits
) -> pd.DataFrame:
    always = readings.merge(_tried(cases, "always"), on="problem_id", validate="one_to_one")
    trigger = settings.trigger
    grid = sorted(set(trigger.grid)) if trigger.share == "fitted" else [float(trigger.share)]
    fired_at = {share: triggers.fires(always, trigger, share, limits.accumulation_z) for share in grid}
    return thresholds.threshold_curve(always, fired_at)
