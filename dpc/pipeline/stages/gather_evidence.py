"""Join the readings of each question with whether it was right, with and without the prompt."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.readings import reading
from dpc.analysis.readings.baseline import of_row
from dpc.analysis.studies import evidence
from dpc.analysis.studies.limits import Limits
from dpc.config.slices import EvidenceStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.plans.triggers import fires
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number

STAGE = stage(version=3)


def run(
    settings: EvidenceStage,
    *,
    flow: Path,
    base: list[Path],
    unprompted: list[Path],
    thresholds: Path,
    out: Path,
) -> None:
    """Write table `evidence` of one cell: calibration and test questions, for the report alone.

    `base` and `unprompted` are the verdicts on answers with and without the prompt.
    """
    fitted = tables.read(thresholds, "thresholds").iloc[0]
    read = reading.readings(tables.scan(flow, "flow"), settings.trigger, settings.locate, of_row(fitted))
    limits = Limits(
        number(fitted["accumulation_z_limit"]), number(fitted["s_ifp_limit"]), fitted["right_cases"], fitted["note"]
    )
    table = evidence.gather(
        evidence.with_verdicts(read, tables.read(base, "verdicts")),
        tables.read(unprompted, "verdicts"),
        fires(read, settings.trigger, number(fitted["share"]), limits.accumulation_z),
        limits,
        settings.sample,
    )
    broken = table["correct_unprompted"] & ~table["correct"]
    log.info("%d questions, %d wrong, %d broken by the prompt", len(table), (~table["correct"]).sum(), broken.sum())
    tables.write(out, "evidence", table, provenance("gather_evidence", settings))
