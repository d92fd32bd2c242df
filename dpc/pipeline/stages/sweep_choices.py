"""Sweep the choices that need no new generation on calibration; evaluate the best ones once on test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dpc.analysis.readings import reading
from dpc.analysis.readings.flow import Instance
from dpc.analysis.studies import sensitivity
from dpc.analysis.studies.outcomes import per_problem
from dpc.analysis.studies.sensitivity import Answers, Cases
from dpc.config.settings import Corrupt
from dpc.config.slices import SensitivityStage
from dpc.config.stages import stage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number

STAGE = stage(version=3)


def run(
    settings: SensitivityStage,
    *,
    saliency: list[Path],
    flow: Path,
    base: list[Path],
    plans: list[Path],
    regenerated: list[Path],
    thresholds: Path,
    out: Path,
) -> None:
    """Write table `sensitivity` of one cell; `plans` are of all parts but the oracles.

    `base` and `regenerated` are the verdicts on prompt tuning's answers and on those of the plans' edits.
    """
    after = known_answers(tables.read(plans, "plans"), tables.read(regenerated, "verdicts"), settings.corrupt)
    share = number(tables.read(thresholds, "thresholds").iloc[0]["share"])
    split = _cases(settings, flow, tables.read(base, "verdicts"), after)
    using = (settings.flow, settings.trigger, settings.locate, settings.corrupt)
    layers = int(tables.read(flow, "flow", ["layers"])["layers"].max())
    grid = sensitivity.choices(settings.sensitivity, *using, layers)
    as_set = [sensitivity.is_configured(choice, *using, share) for choice in grid]

    def instances(name: str) -> Iterator[Instance]:
        return (Instance.of(row) for row in tables.scan(saliency, "saliency") if row.split == name)

    table = sensitivity.sweep(
        grid, split["calibration"], split["test"], share, as_set, settings.significance, instances
    )
    log.info("%d choices on calibration, %d of them on test", len(grid), (table["split"] == "test").sum())
    tables.write(out, "sensitivity", table, provenance("sweep_choices", settings))


def known_answers(plans: pd.DataFrame, verdicts: pd.DataFrame, corrupt: Corrupt) -> Answers:
    """Return what every edit came to that differs from DPC's in vectors, gamma and mask factor alone."""
    wanted = {
        "fired": True, "mask": corrupt.mask, "gamma_scale": corrupt.gamma_scale, "gamma_scope": corrupt.gamma_scope,
        "gamma_seed": -1,
    }  # fmt: skip
    alike = (plans[list(wanted)] == pd.Series(wanted)).all(axis=1) & (plans["masked"].map(len) > 0)
    edits = plans[alike].drop_duplicates(["problem_id", "edit_id"])
    joined = edits.merge(verdicts[["problem_id", "edit_id", "correct"]], on=["problem_id", "edit_id"])
    columns = (joined["problem_id"], joined["masked"].map(tuple), joined["gamma"], joined["mask_value"])
    return dict(zip(zip(*columns, strict=True), joined["correct"].astype(bool), strict=True))


def _cases(settings: SensitivityStage, flow: Path, base: pd.DataFrame, after: Answers) -> dict[str, Cases]:
    """Return the cases of both splits."""
    read = reading.readings(tables.scan(flow, "flow"), settings.trigger, settings.locate)
    read = read.assign(base=per_problem(read["problem_id"], base, "correct", "verdicts")).set_index("problem_id")
    return {
        str(name): Cases(rows["eligible"], rows["base"], after, rows["located"]) for name, rows in read.groupby("split")
    }
