"""The registry of interventions: each plan is a pure function from readings to one row per question.

A row says whether the plan fires, and if so which edit of the prompt answers the question again; where it does not
fire, prompt tuning's generation stands. A new plan is one file beside this one (docs/extending.md).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from dpc.config.declared import declared
from dpc.config.messages import did_you_mean
from dpc.config.settings import Controls, Corrupt, Trigger
from dpc.errors import DpcError
from dpc.plans.declaration import Part, of
from dpc.prompts.edits import READY


@dataclass(frozen=True)
class Inputs:
    """What a plan may look at. No gold: only the oracles' `wrong` was made with it."""

    readings: pd.DataFrame
    """Of one split, see `dpc.analysis.readings.reading.readings`."""
    trigger: Trigger | None
    """When DPC fires; None on calibration and for oracles, whose plans do not ask."""
    corrupt: Corrupt
    controls: Controls
    share: float | None = None
    """R; None never fires."""
    accumulation_z: float | None = None
    """The limit of D18; None where it could not be estimated."""
    static_vector: int = -1
    """The one mask for everybody; -1 if none helped on calibration."""
    score_limits: Mapping[str, float | None] = field(default_factory=dict)
    """Of each of `SCORES`, the limit fitted on calibration; None never fires."""
    act_heads: int = 0
    """Heads in which attention calibration is switched on."""
    wrong: frozenset[str] = frozenset()
    """Questions prompt tuning got wrong (oracles only)."""


Plan = Callable[[Inputs], pd.DataFrame]


def functions(part: Part) -> dict[str, Plan]:
    """Return the plans of a part (calibration, test or oracles) by name."""
    modules = {name: declared("plans", "plan")[name].module.rpartition(".")[2] for name in of(part)}
    return {name: getattr(importlib.import_module(f"dpc.plans.{module}"), name) for name, module in modules.items()}


def make(names: Iterable[str], part: Part, inputs: Inputs) -> pd.DataFrame:
    """Return the `plans` table of the plans `names`. Raises DpcError for a name that the part lacks."""
    known, made = functions(part), []
    for name in names:
        if name not in known:
            raise DpcError(f"unknown plan {name!r}{did_you_mean(name, known)}")
        made.append(known[name](inputs).assign(plan=name))
    return pd.concat(made, ignore_index=True)


def edits_of(plans: pd.DataFrame) -> pd.DataFrame:
    """Return what has to be generated: fired rows, unique by question and content, but those that come ready."""
    wanted = plans[plans["fired"] & ~plans["edit_id"].isin(READY)]
    return wanted.drop_duplicates(["problem_id", "edit_id"]).reset_index(drop=True)
