"""Compute what DPC would do if saliency were measured in another way."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dpc.analysis.readings.flow import derive
from dpc.analysis.studies import saliency_variants as variants
from dpc.config.slices import VariantsStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.pipeline.stages.sweep_choices import known_answers
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number

STAGE = stage(version=2)


def run(
    settings: VariantsStage,
    *,
    saliency: Path,
    generations: list[Path],
    plans: Path,
    base: Path,
    regenerated: Path,
    thresholds: Path,
    out: Path,
) -> None:
    """Write table `variants` of one cell; `plans` and the verdicts `base` and `regenerated` are calibration's."""
    made = tables.read(generations, "generations", ["problem_id", "extracted"])
    measured = _derived(settings, saliency, made)
    fitted = tables.read(thresholds, "thresholds").iloc[0]
    cell = variants.Cell(
        right=tables.read(base, "verdicts").set_index("problem_id")["correct"],
        after=known_answers(tables.read(plans, "plans"), tables.read(regenerated, "verdicts"), settings.corrupt),
        share=number(fitted["share"]),
        z_limit=number(fitted["accumulation_z_limit"]),
    )
    choice = variants.configured(settings.flow, settings.trigger, settings.locate, settings.corrupt)
    table = variants.compare(measured, cell, choice)
    same = table.groupby("variant", sort=False)[["same_decision", "same_vector"]].mean().round(3)
    log.info("%d questions; as configured: %s", measured["problem_id"].nunique(), same.to_dict("index"))
    tables.write(out, "variants", table, provenance("compare_variants", settings))


def _derived(settings: VariantsStage, saliency: Path, made: pd.DataFrame) -> pd.DataFrame:
    """Return rows of table `flow` for every way to measure, with a column `variant`."""
    ways = tables.read(saliency, "variant_saliency", ["variant", "problem_id"])
    own = made[made["problem_id"].isin(ways["problem_id"])]
    rows = derive(tables.scan(saliency, "variant_saliency"), own, settings.flow, settings.locate)
    return pd.DataFrame(rows).assign(variant=ways["variant"])
