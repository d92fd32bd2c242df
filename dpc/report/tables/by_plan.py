"""Tables with a row per plan: what `ablation` and `cost` share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.plans.declaration import PLANS, in_order
from dpc.plans.declaration import label as plan_label
from dpc.report.figures.plan_bars import is_idle
from dpc.report.table_text import CELL

NEVER = "never fires"
IDLE = {"act": "no head confirmed", "dpc": NEVER}
"""What is said of a method that fires on no question; of other plans NEVER."""


def by_plan(
    evaluations: pd.DataFrame, settings: TablesStage, pool: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    """Return one row per cell and plan, in the order of the settings, made by `pool` from the seeds' rows.

    `idle` counts the seeds under which the plan fires on no question.
    """
    rows = []
    for cell in itertools.product(settings.models, settings.datasets, settings.recipes):
        here = evaluations[(evaluations[CELL] == list(cell)).all(axis=1)]
        for plan in in_order(here["plan"]):
            seeds = here[here["plan"] == plan].sort_values("seed", key=lambda s: s.map(settings.prompt_seeds.index))
            named = {**dict(zip(CELL, cell, strict=True)), "plan": plan, "idle": int((seeds["fire_rate"] == 0).sum())}
            rows.append({**named, **pool(seeds)})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*CELL, "plan", "idle", *pool(evaluations)])


def plan_texts(numbers: pd.DataFrame, settings: TablesStage) -> list[str]:
    """Return the plans' names in a table; one that is prompt tuning under some seed says so."""
    released = " (published function, for the record)" * (settings.act.mode == "released")
    return [
        f"{plan_label(name)}{released * (name == 'act')}{idle_text(name, idle, len(settings.prompt_seeds))}"
        for name, idle in zip(map(str, numbers["plan"]), numbers["idle"], strict=True)
    ]


def idle_text(plan: str, idle: int, seeds: int) -> str:
    """Return ` (never fires in 1 of 3 seeds: prompt tuning)`, nothing for a plan that fires under each seed."""
    return f" ({IDLE.get(plan, NEVER)}{in_seeds(idle, seeds)}: prompt tuning)" if is_idle(plan, idle) else ""


def in_seeds(some: int, seeds: int) -> str:
    """Return ` in 1 of 3 seeds`, nothing for all of them."""
    return "" if some == seeds else f" in {some} of {seeds} seeds"


def sampled(numbers: pd.DataFrame) -> str:
    """Return the sentence on plans that tried every vector on a sample of the questions; nothing without one."""
    names = [str(name) for name in numbers["plan"].unique() if PLANS[str(name)].answers == "every_vector"]
    return "".join(
        f"{PLANS[name].label}: every vector was tried on a sample of the questions that prompt tuning gets wrong "
        "(controls.oracle_questions a seed at most); fixed and cut short count in the sample, accuracy, tokens and "
        "seconds are carried over to all of them. "
        for name in names
    )
