"""The two analyses of the paper on a sample of the test questions; CPU only, from stored saliency."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.analysis.readings import reading
from dpc.analysis.readings.flow import Instance
from dpc.analysis.stats import chance
from dpc.analysis.studies import correlation as study
from dpc.analysis.studies import evidence
from dpc.analysis.studies.limits import limits
from dpc.config.slices import StudyStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task

STAGE = stage(version=6)


def run(
    settings: StudyStage,
    *,
    saliency: list[Path],
    flow: Path,
    base: list[Path],
    layers: Path,
    accumulation: Path,
    positions: Path,
    findings: Path,
) -> None:
    """Write the tables `layers`, `accumulation`, `positions` and `findings` of one cell.

    `base` are the verdicts on prompt tuning's answers. Of saliency no more than the sampled questions are kept.
    """
    readings = reading.readings(tables.scan(flow, "flow"), settings.trigger_if_affected, settings.locate)
    readings = evidence.with_verdicts(readings, tables.read(base, "verdicts"))
    right, is_test = readings["correct"], readings["split"] == "test"
    found = limits(readings[~is_test & right], settings.significance)
    sampled = study.mark_significant(evidence.sampled(readings, settings.sample), found)
    _say_sizes(settings, sampled, found.note)
    numbers = study.findings(sampled, settings.statistics, found.note)
    luck = get_task(settings.task).CHANCE
    written = {
        findings: ("findings", chance.mark(numbers, right[is_test], luck, settings.statistics.confidence)),
        **_curves(settings, saliency, sampled, layers, accumulation, positions),
    }
    for path, (name, rows) in written.items():
        tables.write(path, name, rows, provenance("run_study", settings, limits=vars(found)))


def _curves(
    settings: StudyStage,
    saliency: list[Path],
    sampled: pd.DataFrame,
    layers: Path,
    accumulation: Path,
    positions: Path,
) -> dict[Path, tuple[str, pd.DataFrame]]:
    wanted = set(sampled["problem_id"])
    scanned = (row for row in tables.scan(saliency, "saliency") if row.problem_id in wanted)
    by_id = {row.problem_id: Instance.of(row) for row in scanned}

    def load(chosen: pd.Series) -> list[Instance]:
        return [by_id[key] for key in sampled.loc[chosen, "problem_id"]]

    correlated = load(sampled["in_correlation"])
    level, separated = settings.statistics.confidence, sampled["in_separation"]
    groups = {"right": load(separated & sampled["correct"]), "wrong": load(separated & ~sampled["correct"])}
    return {
        layers: ("layers", study.layer_curves(correlated, level)),
        accumulation: ("accumulation", study.accumulation_by_layer(correlated)),
        positions: ("positions", study.position_curves(groups, settings.flow, settings.position_bins, level)),
    }


def _say_sizes(settings: StudyStage, sampled: pd.DataFrame, note: str) -> None:
    separated = sampled[sampled["in_separation"]]
    right, wrong, wanted = (
        int(separated["correct"].sum()),
        int((~separated["correct"]).sum()),
        settings.sample.per_class,
    )
    log.info(
        "correlation study over %d instances, S_IFP over %d right and %d wrong",
        sampled["in_correlation"].sum(),
        right,
        wrong,
    )
    if min(right, wrong) < wanted:
        log.warning(
            "S_IFP analysis: wanted %d right and %d wrong instances, found %d and %d", wanted, wanted, right, wrong
        )
    if note:
        log.warning("significance limits: %s", note)
