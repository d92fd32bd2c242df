"""Plan the edits of the sensitivity sweep: DPC's vector in every calibration question, under other corruptions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from dpc.analysis.readings import reading
from dpc.analysis.studies import sensitivity
from dpc.config.settings import Controls
from dpc.config.slices import PlanSweepStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.corruption import always
from dpc.plans.registry import Inputs
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=2)

SPLIT = "calibration"


def run(settings: PlanSweepStage, *, flow: Path, out: Path) -> None:
    """Write table `plans` with the corruptions that are not the configured one, which plan `always` has made."""
    rows = (row for row in tables.scan(flow, "flow") if row.split == SPLIT)
    readings = reading.readings(rows, settings.trigger_if_affected, settings.locate)
    inputs = Inputs(readings, None, settings.corrupt, Controls())
    others = [
        corrupt for corrupt in sensitivity.edits(settings.sensitivity, settings.corrupt) if corrupt != settings.corrupt
    ]
    made_plans = [always(replace(inputs, corrupt=corrupt)).assign(plan="sweep") for corrupt in others]
    table = pd.concat(made_plans, ignore_index=True) if made_plans else tables.empty("plans")
    log.info("%d corruptions of %d questions", len(others), len(readings))
    tables.write(out, "plans", table, provenance("plan_sweep", settings))
