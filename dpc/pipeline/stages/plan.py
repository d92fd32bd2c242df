"""Turn the flow of test questions into interventions: which questions fire, and which edit each one gets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.readings import reading
from dpc.analysis.readings.baseline import of_row
from dpc.analysis.studies.head_selection import heads_of
from dpc.config.slices import PlanStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.registry import Inputs, make
from dpc.plans.triggers import SCORES
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number

STAGE = stage(version=5)


def run(settings: PlanStage, *, flow: Path, thresholds: Path, act_heads: Path | None = None, out: Path) -> None:
    """Write table `plans` for the test split; `act_heads` is given where plan `act` is made."""
    rows = (row for row in tables.scan(flow, "flow") if row.split == "test")
    inputs = inputs_of(settings, rows, thresholds, act_heads)
    never, least = int((~inputs.readings["eligible"]).sum()), settings.trigger.min_tokens
    log.info("%d of %d questions never fire: fewer than %d tokens, or no answer", never, len(inputs.readings), least)
    table = make(settings.plans, "test", inputs)
    log.info("questions fired: %s", table.groupby("plan", sort=False)["fired"].sum().to_dict())
    tables.write(out, "plans", table, provenance("plan", settings))


def inputs_of(settings: PlanStage, rows: Iterable[Any], thresholds: Path, act_heads: Path | None = None) -> Inputs:
    """Return what plans look at: readings of the rows of table `flow`, and what calibration fitted."""
    fitted = tables.read(thresholds, "thresholds").iloc[0]
    return Inputs(
        readings=reading.readings(rows, settings.trigger, settings.locate, of_row(fitted)),
        trigger=settings.trigger,
        corrupt=settings.corrupt,
        controls=settings.controls,
        act_heads=_switched_on(act_heads),
        **_fitted(fitted),
    )


def _fitted(row: pd.Series[Any]) -> dict[str, Any]:
    """Return what calibration chose."""
    return {
        "share": number(row["share"]),
        "accumulation_z": number(row["accumulation_z_limit"]),
        "static_vector": int(row["static_vector"]),
        "score_limits": {score: number(row[f"{score}_limit"]) for score in SCORES},
    }


def _switched_on(act_heads: Path | None) -> int:
    found = {} if act_heads is None else heads_of(tables.read(act_heads, "act_heads"))
    return sum(map(len, found.values()))
