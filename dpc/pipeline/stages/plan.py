"""Turn the flow into interventions: which questions fire, and which edit each one gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpc.analysis.readings import reading
from dpc.analysis.readings.baseline import of_row
from dpc.analysis.studies.head_selection import heads_of
from dpc.config.slices import PlanStage
from dpc.pipeline.progress import log
from dpc.plans.registry import Inputs, make
from dpc.plans.triggers import SCORES
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number


def run(
    settings: PlanStage,
    *,
    flow: Path,
    split: str,
    thresholds: Path | None = None,
    act_heads: Path | None = None,
    verdicts: Path | None = None,
    out: Path,
) -> None:
    """Write table `plans` for one split.

    `thresholds` is missing for the calibration split, whose plans serve to fit them. `act_heads` is given where plan
    `act` is made, `verdicts` on prompt tuning's answers for the oracles and for nothing else.
    """
    rows = (row for row in tables.scan(flow, "flow") if row.split == split)
    inputs = replace(inputs_of(settings, rows, thresholds, act_heads), wrong=_wrong(verdicts))
    never, least = int((~inputs.readings["eligible"]).sum()), settings.trigger.min_tokens
    log.info("%d of %d questions never fire: fewer than %d tokens, or no answer", never, len(inputs.readings), least)
    table = make(settings.plans, "oracles" if verdicts else "test" if thresholds else "calibration", inputs)
    log.info("questions fired: %s", table.groupby("plan", sort=False)["fired"].sum().to_dict())
    tables.write(out, "plans", table, provenance("plan", settings, split=split))


def inputs_of(
    settings: PlanStage, rows: Iterable[Any], thresholds: Path | None, act_heads: Path | None = None
) -> Inputs:
    """Return what plans look at, gold aside: readings of the rows of table `flow`, and what calibration fitted."""
    usual = None if thresholds is None else of_row(tables.read(thresholds, "thresholds").iloc[0])
    return Inputs(
        readings=reading.readings(rows, settings.trigger, settings.locate, usual),
        trigger=settings.trigger,
        corrupt=settings.corrupt,
        controls=settings.controls,
        act_heads=_switched_on(act_heads),
        **({} if thresholds is None else _fitted(thresholds)),
    )


def _fitted(thresholds: Path) -> dict[str, Any]:
    row = tables.read(thresholds, "thresholds").iloc[0]

    return {
        "share": number(row["share"]),
        "accumulation_z": number(row["accumulation_z_limit"]),
        "static_vector": int(row["static_vector"]),
        "score_limits": {score: number(row[f"{score}_limit"]) for score in SCORES},
    }


def _switched_on(act_heads: Path | None) -> int:
    found = {} if act_heads is None else heads_of(tables.read(act_heads, "act_heads"))
    return sum(map(len, found.values()))


def _wrong(verdicts: Path | None) -> frozenset[str]:
    if verdicts is None:
        return frozenset()
    graded = tables.read(verdicts, "verdicts")
    return frozenset(graded.loc[~graded["correct"], "problem_id"])
