"""Sum up planted harm over prompts and positions."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd

from dpc.analysis.studies.planted import summary
from dpc.config.slices import ValidationStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.report import render
from dpc.report.table_text import CELL
from dpc.report.tables import validation_table
from dpc.storage import tables
from dpc.storage.provenance import provenance, short

STAGE = stage(version=6)


def run(settings: ValidationStage, *, planted: list[Path], out: Path, folder: Path) -> None:
    """Write table `validation` and `folder`/validation.{tex,csv,md,html}.

    `planted` goes through models, datasets, recipes (the working one first) and seeds, those for choosing first.
    """
    recipes = [name for name in (settings.recipe, settings.harmful_recipe) if name is not None]
    seeds = [*settings.choosing_seeds, *settings.held_out_seeds]
    read = dict(zip(itertools.product(settings.models, settings.datasets, recipes, seeds), planted, strict=True))
    found = []
    for model, dataset, recipe in itertools.product(settings.models, settings.datasets, recipes):
        rows = pd.concat([_labelled(read[model, dataset, recipe, seed], recipe, seed, settings) for seed in seeds])
        made = summary(rows, settings.locate.receivers, settings.trigger, settings.statistics.confidence)
        found.append(made.assign(**dict(zip(CELL, (model, dataset, recipe), strict=True))))
    table = pd.concat(found, ignore_index=True)
    if "planted" not in set(table["kind"]):
        log.warning("no harm was planted: no prompt has a vector that its answers can spare")
    for row in tables.rows(table[table["is_default"]]):
        log.info("%s, %s: located %.3f, restored %.3f", row.kind, row.part, row.hit, row.restored_located)
    tables.write(out, "validation", table, provenance("write_validation", settings))
    render.write(validation_table.validation(table, settings), folder, short([out]))


def _labelled(path: Path, recipe: str, seed: int, settings: ValidationStage) -> pd.DataFrame:
    part = "choosing" if seed in settings.choosing_seeds else "held_out"
    return tables.read(path, "planted").assign(seed=seed, part=part, is_planted=recipe == settings.recipe)
