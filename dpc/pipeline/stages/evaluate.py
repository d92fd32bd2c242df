"""Grade every plan on the test split and compare it with prompt tuning. The first stage that reads test gold."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.analysis.readings import flow
from dpc.analysis.studies import outcomes as evaluation
from dpc.config.slices import EvaluateStage
from dpc.pipeline.progress import log
from dpc.plans.declaration import ONE_PASS
from dpc.prompts.edits import BASE
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task


def run(
    settings: EvaluateStage,
    *,
    plans: list[Path],
    unprompted: list[Path],
    generations: list[Path],
    act: list[Path],
    regenerations: list[Path],
    questions: Path,
    gold: Path,
    outcomes: Path,
    out: Path,
) -> None:
    """Write tables `outcomes` (one row per question and plan) and `evaluation` (one row per plan)."""
    made = pd.concat(
        [tables.read([*unprompted, *generations, *act], "generations"), tables.read(regenerations, "regenerations")]
    )
    store = made[made["split"] == "test"].drop_duplicates(["problem_id", "edit_id"], ignore_index=True)
    planned = tables.read(plans, "plans")
    asked, answers = tables.read(questions, "questions"), tables.read(gold, "gold")
    asked = asked[asked["split"] == "test"]
    results = evaluation.outcomes(planned, store, answers, asked, get_task(settings.task), ONE_PASS)
    summary = evaluation.evaluate(results, settings.statistics, ONE_PASS).assign(
        ineligible=_ineligible(settings, store)
    )
    bound = summary["plan"].isin(settings.oracles) & ~summary["note"].str.startswith("upper bound")
    summary.loc[bound, "note"] = "upper bound: looks at test gold"
    for row in tables.rows(summary):
        log.info("%s: accuracy %.4f, fixed %s, broken %s", row.plan, row.accuracy, row.fixed, row.broken)
    about = provenance("evaluate", settings)
    tables.write(outcomes, "outcomes", results, about)
    tables.write(out, "evaluation", summary, about)


def _ineligible(settings: EvaluateStage, store: pd.DataFrame) -> int:
    """Count the rationales under prompt tuning that DPC never fires on (D27)."""
    base = store[store["edit_id"] == BASE]
    eligible = flow.eligible(base["token_ids"].map(len), base["extracted"].notna(), settings.trigger)
    return int((~eligible).sum())
