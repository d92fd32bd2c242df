"""Sum up planted harm over prompts and positions."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd

from dpc.analysis.studies.planted import mean_curve, summary
from dpc.config.slices import ValidationStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.report import render
from dpc.report.table_text import CELL
from dpc.report.tables import validation_table
from dpc.storage import tables
from dpc.storage.provenance import provenance, short

STAGE = stage(version=7)


def run(settings: ValidationStage, *, planted: list[Path], causal: list[Path], out: Path, folder: Path) -> None:
    """Write table `validation` and `folder`/validation.{tex,csv,md,html}.

    `planted` and `causal` go through models, datasets, recipes (the working one first) and seeds, those for choosing
    first.
    """
    recipes = [name for name in (settings.recipe, settings.harmful_recipe) if name is not None]
    seeds = [*settings.choosing_seeds, *settings.held_out_seeds]
    cells = list(itertools.product(settings.models, settings.datasets, recipes, seeds))
    read = {"planted": dict(zip(cells, planted, strict=True)), "planted_causal": dict(zip(cells, causal, strict=True))}
    found = []
    for model, dataset, recipe in itertools.product(settings.models, settings.datasets, recipes):
        rows, tried = (
            pd.concat([_labelled(each[model, dataset, recipe, seed], name, recipe, seed, settings) for seed in seeds])
            for name, each in read.items()
        )
        curve = mean_curve(tried[tried["part"] == "held_out"])
        log.info("%s, %s, %s: accuracy by dose %s", model, dataset, recipe, curve.round(3).to_dict())
        made = summary(rows, tried, settings.locate.receivers, settings.trigger, settings.statistics.confidence)
        found.append(made.assign(**dict(zip(CELL, (model, dataset, recipe), strict=True))))
    table = pd.concat(found, ignore_index=True)
    if "planted" not in set(table["kind"]):
        log.warning("no harm was planted: no prompt has a vector that its answers can spare")
    for row in tables.rows(table[table["is_default"]]):
        log.info("%s, %s: located %.3f, restored %.3f", row.kind, row.part, row.hit, row.restored_located)
    tables.write(out, "validation", table, provenance("write_validation", settings))
    render.write(validation_table.validation(table, settings), folder, short([out]))


def _labelled(path: Path, name: str, recipe: str, seed: int, settings: ValidationStage) -> pd.DataFrame:
    part = "choosing" if seed in settings.choosing_seeds else "held_out"
    return tables.read(path, name).assign(seed=seed, part=part, is_planted=recipe == settings.recipe)
