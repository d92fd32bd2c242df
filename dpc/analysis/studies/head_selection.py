"""Which heads attention calibration is switched on in (docs/methods.md): those with a significant gain, confirmed.

A gain is how much the mean NLL of a question's gold rationale falls, in nats per token, paired by question. A head is
kept where its mean gain exceeds so many standard errors; about 2 % of heads pass that by chance. So the union of the
kept heads has to do the same on questions of another split, or no head is switched on.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

UNION = -1
"""Layer and head of the row that stands for the union of the kept heads."""


class Gain(NamedTuple):
    """The mean gain over questions and its standard error."""

    gain: float
    se: float
    questions: int

    def exceeds(self, standard_errors: float) -> bool:
        """Return whether the gain is above so many standard errors, and above 0."""
        return self.gain > max(standard_errors * self.se, 0.0)


def paired_gain(before: npt.ArrayLike, after: npt.ArrayLike) -> Gain:
    """Return the gain from NLL `before` to NLL `after`, one value per question each."""
    gains = np.asarray(before, dtype=float) - np.asarray(after, dtype=float)
    return Gain(float(gains.mean()), float(gains.std(ddof=1)) / math.sqrt(len(gains)), len(gains))


def select(scores: pd.DataFrame, layers: list[int], standard_errors: float) -> pd.DataFrame:
    """Return columns layer, head, gain, se, questions and kept, one row per head tried.

    `scores` has a row per question: `base`, and `calibrated` over layers x heads in C order.
    """
    tried = np.stack([np.asarray(values, dtype=float) for values in scores["calibrated"]])
    heads = tried.shape[1] // len(layers)
    rows = []
    for column, after in enumerate(tried.T):
        found = paired_gain(scores["base"], after)
        place = {"layer": layers[column // heads], "head": column % heads}
        rows.append({**place, **found._asdict(), "kept": found.exceeds(standard_errors)})
    return pd.DataFrame(rows)


def confirm(selected: pd.DataFrame, union: Gain | None, standard_errors: float) -> pd.DataFrame:
    """Return `selected` with `confirmed` and a last row for the union, whose gain is that of the second split.

    `union` is None where no head was kept: then there is nothing to confirm, and no such row.
    """
    is_confirmed = union is not None and union.exceeds(standard_errors)
    rows = selected.assign(confirmed=selected["kept"] & is_confirmed)
    if union is None:
        return rows
    last = {"layer": UNION, "head": UNION, **union._asdict(), "kept": is_confirmed, "confirmed": is_confirmed}
    return pd.concat([rows, pd.DataFrame([last])], ignore_index=True)


def heads_of(table: pd.DataFrame, column: str = "confirmed") -> dict[int, list[int]]:
    """Return the heads of each layer that are marked in `column`, from table `act_heads`."""
    marked = table[table[column].astype(bool) & (table["layer"] != UNION)]
    found: dict[int, list[int]] = {}
    for layer, head in sorted(zip(marked["layer"], marked["head"], strict=True)):
        found.setdefault(int(layer), []).append(int(head))
    return found
