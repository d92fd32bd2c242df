"""Upper bounds: they alone see which questions prompt tuning got wrong."""

from __future__ import annotations

import pandas as pd

from dpc.plans.decisions import each_vector, first_by_hash, located
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs


@plan(label="Oracle trigger", kind="oracle", answers="located", needs=("wrong",))
def oracle_trigger(inputs: Inputs) -> pd.DataFrame:
    """Upper bound of every trigger: DPC's edit for just the questions prompt tuning got wrong."""
    return located(inputs, inputs.readings["problem_id"].isin(inputs.wrong))


@plan(label="Oracle token", kind="oracle", answers="every_vector", needs=("wrong",))
def oracle_token(inputs: Inputs) -> pd.DataFrame:
    """Upper bound: try every vector on a sample of the questions prompt tuning got wrong."""
    wrong = inputs.readings[inputs.readings["problem_id"].isin(inputs.wrong)]
    sample = first_by_hash(wrong, inputs.controls.oracle_questions)
    return each_vector(sample, inputs.corrupt, list(range(int(inputs.readings["vectors"].max()))))
