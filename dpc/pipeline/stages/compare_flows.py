"""Put the information flow before and after corruption side by side, with the answers."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.studies import flow_change as mechanism
from dpc.config.slices import MechanismStage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance


def run(
    settings: MechanismStage,
    *,
    saliency: list[Path],
    corrupted: Path,
    plans: Path,
    outcomes: Path,
    out: Path,
) -> None:
    """Write table `mechanism`: one row per test question and plan of `settings.mechanism.plans`."""
    planned, graded = tables.read(plans, "plans"), tables.read(outcomes, "outcomes")
    planned = planned[planned["plan"].isin(settings.mechanism.plans)]
    before, after = tables.read(saliency, "saliency"), tables.read(corrupted, "corrupted")
    table = mechanism.before_and_after(planned, before, after, graded, settings.flow)
    log.info("fired: %s", table.groupby("plan", sort=False)["fired"].sum().to_dict())
    tables.write(out, "mechanism", table, provenance("compare_flows", settings))
