"""Questions with labelled options, answered by the label that is likeliest; nothing is generated."""

from __future__ import annotations

import pandas as pd

from dpc.plans.decisions import same_for_all
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs
from dpc.prompts.edits import LIKELIHOOD, LIKELIHOOD_UNPROMPTED, Edit


@plan(label="Prompt tuning, by likelihood", kind="method", answers="options", passes=1)
def likelihood(inputs: Inputs) -> pd.DataFrame:
    """Take the likeliest label under the soft prompt."""
    return same_for_all(inputs, True, Edit()).assign(edit_id=LIKELIHOOD)


@plan(label="No prompt, by likelihood", kind="method", answers="options", passes=1)
def likelihood_no_prompt(inputs: Inputs) -> pd.DataFrame:
    """Take the likeliest label without a prompt."""
    return same_for_all(inputs, True, Edit()).assign(edit_id=LIKELIHOOD_UNPROMPTED)
