"""What DPC is compared with: no prompt, prompt tuning, attention calibration."""

from __future__ import annotations

import pandas as pd

from dpc.plans.decisions import same_for_all
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs
from dpc.prompts.edits import ACT, UNPROMPTED, Edit


@plan(label="No prompt", kind="method", answers="none", passes=1)
def no_prompt(inputs: Inputs) -> pd.DataFrame:
    """Answer without any soft prompt (the paper's Pretrained row)."""
    return same_for_all(inputs, True, Edit()).assign(edit_id=UNPROMPTED)


@plan(label="Prompt tuning", kind="method", answers="none", passes=1)
def prompt_tuning(inputs: Inputs) -> pd.DataFrame:
    """Keep the soft prompt as tuned."""
    return same_for_all(inputs, False, Edit())


@plan(label="ACT", kind="method", answers="none", passes=1, needs=("act_heads",))
def act(inputs: Inputs) -> pd.DataFrame:
    """Attention calibration for everybody; prompt tuning stands where no head was confirmed."""
    rows = same_for_all(inputs, inputs.act_heads > 0, Edit())
    return rows.assign(edit_id=ACT) if inputs.act_heads else rows
