"""The baseline of the trigger (D9), if it comes from right calibration cases.

Axes: L layer, T rationale token, P part of a rationale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PARTS = 20
"""Equal parts of a rationale in the position profile."""
CENTRES_P = (np.arange(PARTS) + 0.5) / PARTS


@dataclass(frozen=True)
class Baseline:
    """From right calibration cases."""

    constant: float
    """Mean flow over the former half, each case counted once."""
    profile_P: NDArray[np.float64]
    """Mean flow by relative position in the rationale, each case counted once."""

    def detrended(self, flow_T: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the flow to each token, divided by what right cases have at its relative position."""
        place_T = (np.arange(len(flow_T)) + 0.5) / max(len(flow_T), 1)
        usual_T = np.interp(place_T, CENTRES_P, self.profile_P)
        return np.divide(flow_T, usual_T, out=np.zeros_like(flow_T), where=usual_T > 0)

    def columns(self) -> dict[str, Any]:
        """Return the columns of table `thresholds` that hold it."""
        return {"flow_constant": self.constant, "flow_profile": self.profile_P.tolist()}


NOTHING: dict[str, Any] = {"flow_constant": None, "flow_profile": None}
"""The columns where there is no baseline of right cases."""


def of_cases(cases: Sequence[tuple[NDArray[np.float64], int]], least: int) -> Baseline | None:
    """Return the baseline of right cases, each the flow per token and the length of its former half.

    None with fewer than `least` cases that have both halves: not estimable.
    """
    usable = [(flow_T, former) for flow_T, former in cases if 0 < former < len(flow_T)]
    if len(usable) < least:
        return None
    constant = float(np.mean([flow_T[:former].mean() for flow_T, former in usable]))
    places = [(np.arange(len(flow_T)) + 0.5) / len(flow_T) for flow_T, _ in usable]
    curves = [np.interp(CENTRES_P, place_T, flow_T) for place_T, (flow_T, _) in zip(places, usable, strict=True)]
    return Baseline(constant, np.mean(curves, axis=0))


def of_row(row: pd.Series) -> Baseline | None:
    """Read the baseline from a row of table `thresholds`."""
    if pd.isna(row["flow_constant"]):
        return None
    return Baseline(float(row["flow_constant"]), np.asarray(row["flow_profile"], dtype=np.float64))
