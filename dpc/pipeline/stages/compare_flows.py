"""Join the information flow before and after corruption with the answers."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.studies import flow_change as mechanism
from dpc.config.slices import MechanismStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance

STAGE = stage(version=2)


def run(
    settings: MechanismStage,
    *,
    base: Path,
    corrupted: Path,
    plans: Path,
    outcomes: Path,
    out: Path,
) -> None:
    """Write table `mechanism`: one row per test question and plan of `settings.mechanism.plans`.

    `base` is table `flow`.
    """
    planned = tables.read(plans, "plans")
    graded = tables.read(outcomes, "outcomes", ["plan", "problem_id", "correct"])
    planned = planned[planned["plan"].isin(settings.mechanism.plans)]
    before, after = tables.read(base, "flow", ["problem_id", *mechanism.READINGS]), tables.scan(corrupted, "corrupted")
    table = mechanism.before_and_after(planned, before, after, graded, settings.flow)
    log.info("fired: %s", table.groupby("plan", sort=False)["fired"].sum().to_dict())
    tables.write(out, "mechanism", table, provenance("compare_flows", settings))
