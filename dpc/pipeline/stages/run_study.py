"""The two analyses of the paper on a sample of the test questions; CPU only, from stored saliency."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.analysis.readings import flow
from dpc.analysis.stats import chance
from dpc.analysis.studies import correlation as study
from dpc.analysis.studies.limits import limits
from dpc.analysis.studies.outcomes import grade
from dpc.config.settings import Trigger
from dpc.config.slices import StudyStage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task


def run(
    settings: StudyStage,
    *,
    saliency: list[Path],
    generations: list[Path],
    gold: list[Path],
    instances: Path,
    layers: Path,
    accumulation: Path,
    positions: Path,
    findings: Path,
) -> None:
    """Write the tables `instances`, `layers`, `accumulation`, `positions` and `findings` of one cell."""
    measured, made = tables.read(saliency, "saliency"), tables.read(generations, "generations")
    answers = tables.read(gold, "gold")
    readings = flow.readings(measured, made, settings.flow, settings.trigger_if_affected or Trigger(), settings.locate)
    task = get_task(settings.task)
    graded = grade(made, answers, task).set_index("problem_id")["correct"]
    is_right_test = graded[made.set_index("problem_id")["split"] == "test"]
    readings = readings.assign(
        correct=readings["problem_id"].map(graded).astype(bool),
        steps=readings["problem_id"].map(answers.set_index("problem_id")["steps"]),
    )
    is_right_calibration = (readings["split"] == "calibration") & readings["correct"]
    found = limits(readings[is_right_calibration], settings.significance)
    sampled = study.sample_instances(readings[readings["split"] == "test"], settings.sample)
    sampled = study.mark_significant(sampled, found, first_position=bool((measured["prompt_start"] == 0).any()))
    _say_sizes(settings, sampled, found.note)
    numbers = study.findings(sampled, settings.statistics, found.note)
    written = {
        instances: ("instances", sampled),
        findings: ("findings", chance.mark(numbers, is_right_test, task.CHANCE, settings.statistics.confidence)),
        **_curves(settings, measured, sampled, layers, accumulation, positions),
    }
    for path, (name, rows) in written.items():
        tables.write(path, name, rows, provenance("run_study", settings, limits=vars(found)))


def _curves(
    settings: StudyStage,
    measured: pd.DataFrame,
    sampled: pd.DataFrame,
    layers: Path,
    accumulation: Path,
    positions: Path,
) -> dict[Path, tuple[str, pd.DataFrame]]:
    by_id = {row.problem_id: row for row in tables.rows(measured)}

    def load(chosen: pd.Series) -> list[flow.Instance]:
        return [flow.Instance.of(by_id[key]) for key in sampled.loc[chosen, "problem_id"]]

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
