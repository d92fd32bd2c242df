"""Plan the upper bounds: they alone are told which test questions prompt tuning got wrong."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.readings import reading
from dpc.config.slices import PlanOraclesStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.registry import Inputs, make
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=1)


def run(settings: PlanOraclesStage, *, flow: Path, verdicts: Path, out: Path) -> None:
    """Write table `plans` of the oracles for the test split; `verdicts` are those on prompt tuning's answers."""
    rows = (row for row in tables.scan(flow, "flow") if row.split == "test")
    readings = reading.readings(rows, settings.trigger_if_affected, settings.locate)
    graded = tables.read(verdicts, "verdicts")
    wrong = frozenset(graded.loc[~graded["correct"], "problem_id"])
    table = make(settings.oracles, "oracles", Inputs(readings, None, settings.corrupt, settings.controls, wrong=wrong))
    log.info("questions fired: %s", table.groupby("plan", sort=False)["fired"].sum().to_dict())
    tables.write(out, "plans", table, provenance("plan_oracles", settings))
