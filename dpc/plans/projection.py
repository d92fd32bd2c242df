"""A prompt read as text: what is left of it where each vector is its nearest token."""

from __future__ import annotations

import pandas as pd

from dpc.plans.decisions import same_for_all
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs
from dpc.prompts.edits import NEAREST, Edit


@plan(label="Nearest tokens", kind="control", passes=1)
def projected(inputs: Inputs) -> pd.DataFrame:
    """Answer under the prompt whose vectors are replaced by the embeddings of their nearest tokens: P-hat."""
    return same_for_all(inputs, True, Edit(mask=NEAREST))
