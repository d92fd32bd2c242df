"""The tuned prompts of a study side by side, for the tables and figures that compare them."""

from __future__ import annotations

import pandas as pd

from dpc.analysis.studies import readability
from dpc.report.cells import LIGHT, Tables


def prompts(tables: Tables) -> pd.DataFrame:
    """Return one row per tuned prompt, see `readability.prompts`."""
    read, outcomes = tables.by_cell("interpretability"), tables.by_cell("outcomes", LIGHT["outcomes"])
    return pd.concat(
        [readability.prompts(rows, outcomes[cell], cell) for cell, rows in read.items()], ignore_index=True
    )
