"""Put side by side, per question, what saliency reads and whether the answer was right, with and without the prompt."""

from __future__ import annotations

from pathlib import Path

from dpc.analysis.readings import flow
from dpc.analysis.readings.baseline import of_row
from dpc.analysis.studies import evidence
from dpc.analysis.studies.outcomes import grade
from dpc.config.slices import EvidenceStage
from dpc.pipeline.progress import log
from dpc.plans.triggers import fires
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number
from dpc.tasks import get_task


def run(
    settings: EvidenceStage,
    *,
    saliency: list[Path],
    generations: list[Path],
    unprompted: list[Path],
    thresholds: Path,
    gold: list[Path],
    out: Path,
) -> None:
    """Write table `evidence` of one cell: calibration and test questions, for the report alone."""
    measured, made = tables.read(saliency, "saliency"), tables.read(generations, "generations")
    answers, task = tables.read(gold, "gold"), get_task(settings.task)
    fitted = tables.read(thresholds, "thresholds").iloc[0]
    right, alone = (
        grade(table, answers, task).set_index("problem_id")[reading]
        for table, reading in ((made, "correct"), (tables.read(unprompted, "generations"), "correct_lenient"))
    )
    readings = flow.readings(measured, made, settings.flow, settings.trigger, settings.locate, of_row(fitted))
    table = evidence.gather(
        readings,
        evidence.extra_readings(measured, settings.flow, settings.trigger, settings.locate),
        right,
        alone,
        answers.set_index("problem_id")["steps"],
        fires(readings, settings.trigger, number(fitted["share"]), number(fitted["accumulation_z"])),
        number(fitted["flow_change"]),
    )
    broken = table["correct_unprompted"] & ~table["correct"]
    log.info("%d questions, %d wrong, %d broken by the prompt", len(table), (~table["correct"]).sum(), broken.sum())
    tables.write(out, "evidence", table, provenance("gather_evidence", settings))
