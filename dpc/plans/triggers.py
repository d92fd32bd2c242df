"""When to fire: DPC's trigger, and simpler triggers."""

from __future__ import annotations

import pandas as pd

from dpc.config.settings import Trigger
from dpc.errors import DpcError
from dpc.plans.decisions import located
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs

SCORES = ("entropy", "nll", "attention")
"""Readings that trigger in place of the share of affected tokens; their limits are fitted as R is (D31)."""


def fires(readings: pd.DataFrame, trigger: Trigger, share: float | None, limit: float | None) -> pd.Series:
    """Say which questions DPC's trigger fires on (docs/methods.md, step 3; D15, D27): share of affected tokens > R.

    `limit` is D18's: with rule `share_and_accumulation` a limit that could not be estimated never fires.
    """
    if share is None:
        return pd.Series(False, index=readings.index)
    fired = readings["eligible"] & (readings["affected_share"] > share)
    if trigger.rule == "share_and_accumulation":
        fired &= (readings["accumulation_z"] > limit) if limit is not None else False
    return fired


def fires_on_score(readings: pd.DataFrame, score: str, limit: float | None) -> pd.Series:
    """Say which questions a simpler trigger fires on: reading `score` > limit, where eligible (D27)."""
    if limit is None:
        return pd.Series(False, index=readings.index)
    return readings["eligible"] & (readings[score] > limit)


def dpc_fires(inputs: Inputs) -> pd.Series:
    """Say which questions DPC fires on. Raises DpcError where there is no trigger: on calibration, and for oracles."""
    if inputs.trigger is None:
        raise DpcError("plans of calibration and oracles are made without DPC's trigger; declare splits=('test',)")
    return fires(inputs.readings, inputs.trigger, inputs.share, inputs.accumulation_z)


@plan(label="Trigger: entropy", kind="trigger", answers="located", needs=("score_limits",))
def entropy_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit where the rationale's mean entropy is above its limit."""
    return _scored(inputs, "entropy")


@plan(label="Trigger: NLL", kind="trigger", answers="located", needs=("score_limits",))
def nll_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit where the rationale's mean NLL is above its limit."""
    return _scored(inputs, "nll")


@plan(label="Trigger: plain attention", kind="trigger", answers="located", needs=("score_limits",))
def attention_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit where plain attention to the prompt, in place of saliency, is above its limit."""
    return _scored(inputs, "attention")


def _scored(inputs: Inputs, score: str) -> pd.DataFrame:
    return located(inputs, fires_on_score(inputs.readings, score, inputs.score_limits.get(score)))
