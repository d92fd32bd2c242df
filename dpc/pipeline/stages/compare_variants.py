"""Say what DPC would do if saliency were measured in another way, on the questions measured anew."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.analysis.studies import saliency_variants as variants
from dpc.analysis.studies.outcomes import grade
from dpc.config.slices import VariantsStage
from dpc.pipeline.progress import log
from dpc.pipeline.stages.sweep_choices import known_answers
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task


def run(
    settings: VariantsStage,
    *,
    saliency: Path,
    generations: list[Path],
    plans: Path,
    regenerations: list[Path],
    thresholds: Path,
    gold: Path,
    out: Path,
) -> None:
    """Write table `variants` of one cell; `plans`, `regenerations` and `gold` are calibration's."""
    measured, made = tables.read(saliency, "variant_saliency"), tables.read(generations, "generations")
    made = made[made["problem_id"].isin(measured["problem_id"])]
    answers, task = tables.read(gold, "gold"), get_task(settings.task)
    again = grade(tables.read(regenerations, "regenerations"), answers, task)
    fitted = tables.read(thresholds, "thresholds").iloc[0]
    share, limit = (None if pd.isna(fitted[name]) else float(fitted[name]) for name in ("share", "accumulation_z"))
    cell = variants.Cell(
        generations=made,
        right=grade(made, answers, task).set_index("problem_id")["correct"],
        after=known_answers(tables.read(plans, "plans"), again, settings.corrupt),
        share=share,
        z_limit=limit,
    )
    choice = variants.configured(settings.flow, settings.trigger, settings.locate, settings.corrupt)
    table = variants.compare(measured, cell, choice)
    same = table.groupby("variant", sort=False)[["same_decision", "same_vector"]].mean().round(3)
    log.info("%d questions; as configured: %s", len(made), same.to_dict("index"))
    tables.write(out, "variants", table, provenance("compare_variants", settings))
