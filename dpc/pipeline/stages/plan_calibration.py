"""Plan the edits of calibration questions that thresholds and the one static mask are fitted with."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.readings import reading
from dpc.config.slices import PlanCalibrationStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.registry import Inputs, make
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=1)


def run(settings: PlanCalibrationStage, *, flow: Path, out: Path) -> None:
    """Write table `plans` for the calibration split."""
    rows = (row for row in tables.scan(flow, "flow") if row.split == "calibration")
    readings = reading.readings(rows, settings.trigger_if_affected, settings.locate)
    table = make(settings.plans, "calibration", Inputs(readings, None, settings.corrupt, settings.controls))
    log.info("questions fired: %s", table.groupby("plan", sort=False)["fired"].sum().to_dict())
    tables.write(out, "plans", table, provenance("plan_calibration", settings))
