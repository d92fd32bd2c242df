"""Fit R, the significance limits and the one static mask on the calibration split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings import flow
from dpc.analysis.readings.baseline import NOTHING
from dpc.analysis.studies import limits as thresholds
from dpc.analysis.studies.outcomes import grade
from dpc.config.slices import ThresholdsStage
from dpc.errors import DpcError
from dpc.pipeline.progress import log
from dpc.plans import triggers
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task

SPLIT = "calibration"


def run(
    settings: ThresholdsStage,
    *,
    saliency: list[Path],
    generations: list[Path],
    regenerations: list[Path],
    plans: Path,
    gold: Path,
    out: Path,
    curve: Path,
) -> None:
    """Write tables `thresholds` (one row) and `threshold_curve` (one row per R).

    Raises DpcError if a row of another split reaches this stage through its plans or regenerations.
    """
    measured, made = tables.read(saliency, "saliency"), tables.read(generations, "generations")
    measured, made = (table[table["split"] == SPLIT] for table in (measured, made))
    again, planned = tables.read(regenerations, "regenerations"), tables.read(plans, "plans")
    if (again["split"] != SPLIT).any():
        raise DpcError("thresholds: found regenerations of another split; expected calibration only")
    cases = _cases(settings, made, again, planned, tables.read(gold, "gold"))
    right = set(cases.loc[cases["base_correct"], "problem_id"])
    instances = [flow.Instance.of(row) for row in tables.rows(measured[measured["problem_id"].isin(right)])]
    usual = flow.baseline_of(instances, settings.flow, settings.trigger, settings.significance.min_cases)
    readings = flow.readings(measured, made, settings.flow, settings.trigger, settings.locate, usual)
    limits = thresholds.limits(readings[readings["problem_id"].isin(right)], settings.significance)
    rows = _fit(settings, readings, cases, limits)
    fitted = _chosen(settings, readings, cases, limits, rows) | (usual.columns() if usual else NOTHING)
    about = provenance("fit_thresholds", settings)
    tables.write(out, "thresholds", pd.DataFrame([fitted]), about)
    tables.write(curve, "threshold_curve", rows.assign(chosen=rows["share"] == fitted["share"]), about)


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
        "accumulation_z": limits.accumulation_z,
        "flow_change": limits.flow_change,
        "static_vector": vector,
        **_score_limits(settings, readings, cases),
        "right_cases": limits.right_cases,
        "calibration_questions": len(readings),
        "note": note,
    }


def _cases(
    settings: ThresholdsStage,
    made: pd.DataFrame,
    again: pd.DataFrame,
    planned: pd.DataFrame,
    gold: pd.DataFrame,
) -> pd.DataFrame:
    """Return one row per calibration plan row: what prompt tuning and what the edit came to."""
    task = get_task(settings.task)
    base = grade(made, gold, task).set_index("problem_id")["correct"]
    if strange := set(planned["problem_id"]) - set(base.index):
        raise DpcError(
            f"thresholds: found a plan for {min(strange)!r}, which is no calibration question; run plan again"
        )
    after = grade(again, gold, task)[["problem_id", "edit_id", "correct"]]
    joined = planned.merge(after, on=["problem_id", "edit_id"], how="left", validate="many_to_one")
    if joined["correct"].isna().any():
        raise DpcError("thresholds: a planned edit was not regenerated; run regenerate for the calibration split again")
    return pd.DataFrame(
        {
            "problem_id": joined["problem_id"],
            "plan": joined["plan"],
            "candidate": joined["candidate"],
            "base_correct": joined["problem_id"].map(base).astype(bool),
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
