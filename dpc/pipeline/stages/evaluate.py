"""Join every plan's answers on the test split with their verdicts, and compare each plan with prompt tuning."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.analysis.readings.reading import eligible
from dpc.analysis.studies import outcomes as evaluation
from dpc.config.slices import EvaluateStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.declaration import ONE_PASS, PLANS, TRIGGERED
from dpc.prompts.edits import ACT, BASE, LIKELIHOOD, LIKELIHOOD_UNPROMPTED, UNPROMPTED
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=7)
EDITED = "edited"
"""Stands for every edit that is made by regenerating."""


def run(
    settings: EvaluateStage,
    *,
    plans: list[Path],
    unprompted: list[Path],
    generations: list[Path],
    act: list[Path],
    options: list[Path],
    regenerations: list[Path],
    verdicts: list[Path],
    questions: Path,
    flow: Path,
    outcomes: Path,
    out: Path,
) -> None:
    """Write tables `outcomes` (one row per question and plan) and `evaluation` (one row per plan).

    Raises DpcError if an answer has no verdict.
    """
    made = pd.concat(
        [
            tables.read([*unprompted, *generations, *act, *options], "generations"),
            tables.read(regenerations, "regenerations"),
        ]
    )
    store = made[made["split"] == "test"].drop_duplicates(["problem_id", "edit_id"], ignore_index=True)
    store = evaluation.judged(store, tables.read(verdicts, "verdicts"))
    planned, asked = tables.read(plans, "plans"), tables.read(questions, "questions")
    measured = tables.read(flow, "flow", ["problem_id", "seconds_trigger", "seconds_location"])
    results = evaluation.outcomes(planned, store, asked[asked["split"] == "test"], measured, ONE_PASS, TRIGGERED)
    files = {UNPROMPTED: unprompted, BASE: generations, ACT: act, EDITED: regenerations}
    files |= dict.fromkeys((LIKELIHOOD, LIKELIHOOD_UNPROMPTED), options)
    summary = evaluation.evaluate(results, settings.statistics, ONE_PASS)
    summary = summary.assign(
        ineligible=_ineligible(settings, store), memory_gb=_memory_gb(summary, planned, files, flow)
    )
    summary = _noted(summary, results, store)
    about = provenance("evaluate", settings)
    tables.write(outcomes, "outcomes", results, about)
    tables.write(out, "evaluation", summary, about)


def _noted(summary: pd.DataFrame, results: pd.DataFrame, store: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with what has to be said beside a plan's numbers, and log it."""
    tried = results.loc[results["candidate"] >= 0, "plan"]  # their notes say how many candidates
    is_told = summary["plan"].map(lambda name: PLANS[name].is_oracle) & ~summary["plan"].isin(tried)
    summary.loc[is_told, "note"] = "upper bound: looks at test gold"
    is_unchanged = evaluation.is_unchanged(store)
    if is_unchanged:
        log.warning("the prompt changes no answer: all are the model's own, token for token")
    for row in tables.rows(summary):
        log.info("%s: accuracy %.4f, fixed %s, broken %s", row.plan, row.accuracy, row.fixed, row.broken)
    return summary.assign(unchanged=(summary["plan"] == evaluation.BASELINE) & is_unchanged)


def _memory_gb(summary: pd.DataFrame, planned: pd.DataFrame, files: dict[str, list[Path]], flow: Path) -> list[float]:
    """Return, for each plan, the largest peak of the jobs that made what it takes, and what it looks at before."""
    peak_gb = {name: max(map(tables.peak_gb, made), default=0.0) for name, made in files.items()}
    saliency_gb = float(tables.provenance(flow)["saliency_peak_gb"])
    return [_peak_gb(planned[planned["plan"] == name], peak_gb, saliency_gb) for name in summary["plan"]]


def _peak_gb(rows: pd.DataFrame, peak_gb: dict[str, float], saliency_gb: float) -> float:
    """Return the peak of one plan, whose decisions are `rows`."""
    edits = rows["edit_id"].where(rows["fired"], BASE)
    used = {edit if edit in peak_gb else EDITED for edit in edits.unique()}
    looks = rows["plan"].iloc[0] not in ONE_PASS
    is_measured = looks and bool((rows["candidate"] < 0).any())
    before = [peak_gb[BASE], saliency_gb][: 1 + is_measured] if looks else []
    return max([peak_gb[name] for name in used] + before)


def _ineligible(settings: EvaluateStage, store: pd.DataFrame) -> int:
    """Count the rationales under prompt tuning that DPC never fires on (D27)."""
    base = store[store["edit_id"] == BASE]
    may_fire = eligible(base["token_ids"].map(len), base["extracted"].notna(), settings.trigger)
    return int((~may_fire).sum())
