"""Sweep the choices that need no new generation: on calibration, and what is chosen there once on test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from dpc.analysis.readings import flow
from dpc.analysis.studies import sensitivity
from dpc.analysis.studies.outcomes import grade
from dpc.analysis.studies.sensitivity import Answers, Cases
from dpc.config.settings import Corrupt
from dpc.config.slices import SensitivityStage
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.tables import number
from dpc.tasks import get_task


def run(
    settings: SensitivityStage,
    *,
    saliency: list[Path],
    generations: list[Path],
    plans: list[Path],
    regenerations: list[Path],
    thresholds: Path,
    gold: list[Path],
    out: Path,
) -> None:
    """Write table `sensitivity` of one cell; `plans` and `regenerations` are of all parts but the oracles."""
    measured, made = tables.read(saliency, "saliency"), tables.read(generations, "generations")
    answers, task = tables.read(gold, "gold"), get_task(settings.task)
    again = grade(tables.read(regenerations, "regenerations"), answers, task)
    after = known_answers(tables.read(plans, "plans"), again, settings.corrupt)
    fitted = tables.read(thresholds, "thresholds").iloc[0]
    share = number(fitted["share"])
    right = grade(made, answers, task).set_index("problem_id")
    split = {name: _cases(settings, measured[measured["split"] == name], right, after)
             for name in ("calibration", "test")}  # fmt: skip
    using = (settings.flow, settings.trigger, settings.locate, settings.corrupt)
    grid = sensitivity.choices(settings.sensitivity, *using, int(measured["layers"].max()))
    as_set = [sensitivity.is_configured(choice, *using, share) for choice in grid]
    table = sensitivity.sweep(grid, split["calibration"], split["test"], share, as_set, settings.significance)
    log.info("%d choices on calibration, %d of them on test", len(grid), (table["split"] == "test").sum())
    tables.write(out, "sensitivity", table, provenance("sweep_choices", settings))


def known_answers(plans: pd.DataFrame, graded: pd.DataFrame, corrupt: Corrupt) -> Answers:
    """Return what every edit came to that differs from DPC's in vectors, gamma and mask factor alone."""
    wanted = {
        "fired": True, "mask": corrupt.mask, "gamma_scale": corrupt.gamma_scale, "gamma_scope": corrupt.gamma_scope,
        "gamma_seed": -1,
    }  # fmt: skip
    alike = (plans[list(wanted)] == pd.Series(wanted)).all(axis=1) & (plans["masked"].map(len) > 0)
    edits = plans[alike].drop_duplicates(["problem_id", "edit_id"])
    joined = edits.merge(graded[["problem_id", "edit_id", "correct"]], on=["problem_id", "edit_id"])
    columns = (joined["problem_id"], joined["masked"].map(tuple), joined["gamma"], joined["mask_value"])
    return dict(zip(zip(*columns, strict=True), joined["correct"].astype(bool), strict=True))


def _cases(
    settings: SensitivityStage,
    measured: pd.DataFrame,
    right: pd.DataFrame,
    after: Answers,
) -> Cases:
    instances = [flow.Instance.of(row) for row in tables.rows(measured)]
    ids = pd.Index([instance.problem_id for instance in instances], name="problem_id")
    tokens, rows = pd.Series([i.rationale_tokens for i in instances], ids, dtype="int64"), right.loc[ids]
    eligible, base = flow.eligible(tokens, rows["extracted"].notna(), settings.trigger), rows["correct"].astype(bool)
    cases = Cases(instances, eligible, base, after, pd.Series(dtype=object))
    choice = sensitivity.Choice("", "", "", settings.flow, settings.trigger, settings.locate, settings.corrupt)
    return replace(cases, configured=sensitivity.measured(instances, choice)["located"])
