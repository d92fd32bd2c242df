"""DPC, its parts one by one, and its corruption without the trigger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from dpc.plans.decisions import each_vector, edit_of, first_by_hash, located, same_for_all
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs
from dpc.plans.triggers import dpc_fires


@plan(label="DPC", kind="method", answers="located", needs=("share", "accumulation_z"))
def dpc(inputs: Inputs) -> pd.DataFrame:
    """Dynamic Prompt Corruption: where the trigger fires, mask the located vector and zero gamma's entries."""
    return located(inputs, dpc_fires(inputs))


@plan(label="Corruption without trigger", kind="corruption", splits=("calibration", "test"))
def always(inputs: Inputs) -> pd.DataFrame:
    """Corruption without trigger: DPC's edit for every question."""
    return located(inputs, pd.Series(True, index=inputs.readings.index))


@plan(label="Mask only", kind="corruption", needs=("share", "accumulation_z"))
def mask_only(inputs: Inputs) -> pd.DataFrame:
    """DPC without gamma: mask the located vector, leave the others whole."""
    return located(inputs, dpc_fires(inputs), lambda edit: replace(edit, gamma=0.0))


@plan(label="Γ only", kind="corruption", needs=("share", "accumulation_z"))
def gamma_only(inputs: Inputs) -> pd.DataFrame:
    """DPC without the mask: zero gamma's entries, keep the located vector."""
    return located(inputs, dpc_fires(inputs), lambda edit: replace(edit, mask="scale", mask_value=1.0))


NOISE_FLOOR = 50
"""Questions that plan `identity` answers again whatever DPC does: the noise floor exists where DPC never fires."""


@plan(label="Identity (noise floor)", kind="corruption", is_drawn=True, needs=("share", "accumulation_z"))
def identity(inputs: Inputs) -> pd.DataFrame:
    """Generate questions again under the unchanged prompt: in bfloat16 the noise floor.

    They are those that DPC fires on, and the first `NOISE_FLOOR` by hash of those it may fire on (D27).
    """
    readings = inputs.readings
    sample = first_by_hash(readings[readings["eligible"]], NOISE_FLOOR)
    fired = dpc_fires(inputs) | readings.index.isin(sample.index)
    return located(inputs, fired, lambda edit: replace(edit, mask="scale", mask_value=1.0, gamma=0.0))


@plan(label="One static mask", kind="corruption", passes=1, needs=("static_vector",))
def static_mask(inputs: Inputs) -> pd.DataFrame:
    """One corruption for everybody: the vector that helped most on calibration; nobody's if none helped."""
    vector = inputs.static_vector
    return same_for_all(inputs, vector >= 0, edit_of(inputs.corrupt, [max(vector, 0)]))


@plan(
    label="Candidates for one static mask",
    kind="corruption",
    answers="candidates",
    splits=("calibration",),
    serves="static_mask",
)
def static_candidates(inputs: Inputs) -> pd.DataFrame:
    """Try the vectors located most often, each as one mask for a fixed sample of the questions.

    Where fewer were ever located, the first of the others fill up: every prompt gives the static mask as many tries.
    """
    readings, controls = inputs.readings, inputs.controls
    counts = np.bincount([j for located in readings["located"] for j in located], minlength=readings["vectors"].max())
    candidates = np.argsort(-counts, kind="stable")[: controls.static_candidates]
    sample = first_by_hash(readings, controls.static_questions)
    return each_vector(sample, inputs.corrupt, candidates.tolist())
