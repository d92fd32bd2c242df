"""Tables with a row per plan: what `ablation` and `cost` share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.plans.declaration import PLANS, in_order
from dpc.plans.declaration import label as plan_label
from dpc.report.table_text import (
    CELL,
)


def by_plan(
    evaluations: pd.DataFrame, settings: TablesStage, pool: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    """Return one row per cell and plan, in the order of the settings, made by `pool` from the seeds' rows."""
    rows = []
    for cell in itertools.product(settings.models, settings.datasets, settings.recipes):
        here = evaluations[(evaluations[CELL] == list(cell)).all(axis=1)]
        for plan in in_order(here["plan"]):
            seeds = here[here["plan"] == plan].sort_values("seed", key=lambda s: s.map(settings.prompt_seeds.index))
            rows.append({**dict(zip(CELL, cell, strict=True)), "plan": plan, **pool(seeds)})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*CELL, "plan", *pool(evaluations)])


def plan_text(name: str, settings: TablesStage) -> str:
    """Return a plan's name in a table."""
    released = name == "act" and settings.act.mode == "released"
    return f"{plan_label(name)}{' (published function, for the record)' * released}"


def sampled(numbers: pd.DataFrame) -> str:
    """Return the sentence on plans that tried every vector on a sample of the questions; nothing without one."""
    names = [str(name) for name in numbers["plan"].unique() if PLANS[str(name)].answers == "every_vector"]
    return "".join(
        f"{PLANS[name].label}: every vector was tried on a sample of the questions that prompt tuning gets wrong "
        "(controls.oracle_questions a seed at most); fixed and cut short count in the sample, accuracy, tokens and "
        "seconds are carried over to all of them. "
        for name in names
    )
