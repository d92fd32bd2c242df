"""Readings of each question for the trigger, the locator and the study: arithmetic over table `flow`.

Axes: T rationale token, N prompt vector. Formulas: METHODS, DPC steps 3 and 4, choices D7 to D20 (`docs/choices.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.analysis.readings.baseline import Baseline, of_cases
from dpc.analysis.readings.flow import ROUNDING, Floats, Instance, largest_share, largest_z, received, token_flow
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate, Trigger


@dataclass(frozen=True)
class TokenFlow:
    """The flow to each token of one rationale, and how it is cut."""

    flow_T: Floats
    former: int
    """Tokens of the former half."""
    step_of_token: NDArray[np.int64]

    @staticmethod
    def of(instance: Instance, flow: Flow) -> TokenFlow:
        """Read it off stored saliency."""
        flow_T = token_flow(instance, layer_range(flow.deep_layers, instance.layers))
        return TokenFlow(flow_T, instance.former[flow.halves], instance.step_of_token)

    @staticmethod
    def of_row(row: Any) -> TokenFlow:
        """Read it off a row of table `flow`."""
        return TokenFlow(np.asarray(row.token_flow), int(row.former), np.asarray(row.step_of_token, dtype=np.int64))


@dataclass(frozen=True)
class Compared:
    """What the trigger compares: one value per token, or the mean of its step, with beta."""

    values_T: Floats
    beta: float
    """kappa x what is usual; a value above it is affected."""
    units: NDArray[np.int64]
    """The token or step that each token counts for."""
    former: int
    """Units of the former half."""

    @property
    def affected_T(self) -> NDArray[np.bool_]:
        """Return which tokens are affected: above beta, strictly, in the latter half."""
        above = self.values_T > self.beta * (1 + ROUNDING)  # a mean of equal values may round down
        return above & (self.units >= self.former)

    @property
    def share(self) -> float:
        """Return the share of the latter half's units that are affected."""
        count = int(self.units.max()) + 1
        return float(len(np.unique(self.units[self.affected_T])) / (count - self.former))


def compared(tokens: TokenFlow, trigger: Trigger, baseline: Baseline | None = None) -> Compared | None:
    """Return what `affected_tokens` compares; None where it has nothing to compare with."""
    values, former = tokens.flow_T, tokens.former
    if trigger.baseline != "former" and baseline is None:
        return None
    if trigger.baseline == "detrend" and baseline:
        values = baseline.detrended(values)
    units = np.arange(len(values))
    if trigger.granularity == "step":
        units = tokens.step_of_token
        values = np.bincount(units, weights=values) / np.bincount(units)
        former = len(values) // 2
    if former < 1 or former >= len(values):
        return None
    usual = baseline.constant if trigger.baseline == "constant" and baseline else float(values[:former].mean())
    return Compared(values[units], trigger.kappa * usual, units, former)


def affected_tokens(
    tokens: TokenFlow, trigger: Trigger, baseline: Baseline | None = None
) -> tuple[NDArray[np.bool_], float]:
    """Return which tokens of the latter half are affected, and their share R is compared with (step 3; D7-D9).

    Affected: s > kappa x mean of s over the former half, strictly (constant flow affects none). With `granularity:
    step` the same over means of steps. A rationale without a former half has none. `trigger.baseline` may ask for
    another comparison, with a `baseline` of right calibration cases; where there is none, no token is affected.
    """
    found = compared(tokens, trigger, baseline)
    if found is None:
        return np.zeros(len(tokens.flow_T), dtype=bool), 0.0
    return found.affected_T, found.share


def baseline_of(right: Iterable[TokenFlow], trigger: Trigger, least: int) -> Baseline | None:
    """Return what `trigger.baseline` needs from right calibration cases; None where it needs nothing.

    None too with fewer than `least` cases.
    """
    if trigger.baseline == "former":
        return None
    return of_cases([(one.flow_T, one.former) for one in right], least)


def eligible(tokens: pd.Series[int], answered: pd.Series[bool], trigger: Trigger) -> pd.Series[bool]:
    """Say which rationales DPC may fire on (D27): those that are long enough and have an answer."""
    return (tokens >= trigger.min_tokens) & answered


def most_salient(column_N: Floats, locate: Locate) -> list[int]:
    """Return the located vectors, most salient first; equal ones from the left (D14)."""
    return [int(j) for j in np.argsort(-column_N, kind="stable")[: locate.masked_vectors]]


def evenness(vectors: int) -> float:
    """Return the expected largest share of a whole broken at random into `vectors` parts: (1 + 1/2 + ... + 1/n) / n.

    Source: David and Nagaraja (2003), Order Statistics, section 6.4. What no vector has to stand out for.
    """
    return float(np.mean([1 / number for number in range(1, vectors + 1)])) if vectors else math.nan


UNKNOWN = np.zeros(0, dtype=bool)
"""Affected tokens without a trigger: a row whose vectors are located by them ends in an IndexError."""
COPIED = (
    "problem_id", "split", "vectors", "rationale_tokens", "nll", "entropy", "attention", "s_ifp", "flow_latter",
    "band_log_ratio",
)  # fmt: skip
"""Columns of table `flow` that are readings as they stand: means per token, in nats where they are likelihoods."""
COLUMNS = (
    *COPIED, "affected_share", "located", "accumulation", "accumulation_z", "accumulation_beyond_zero",
    "concentration", "first_position",
)  # fmt: skip


def readings(
    rows: Iterable[Any], trigger: Trigger | None, locate: Locate, baseline: Baseline | None = None
) -> pd.DataFrame:
    """Return one row of readings per row of table `flow`: what the trigger, the locator and the study need.

    Columns beside `COPIED`: eligible (D27), affected_share, located (list, most salient first), accumulation (largest
    share in c_j), accumulation_z, accumulation_beyond_zero (largest share among vectors that do not stand at position
    0), concentration (accumulation / `evenness`), first_position (the prompt's first vector stands at position 0).
    Without a trigger (which locating needs where affected tokens alone receive), eligible and affected_share are left
    out.
    """
    made = [(_reading(row, trigger, locate, baseline), row.answered) for row in rows]
    table = pd.DataFrame([reading for reading, _ in made], columns=list(COLUMNS))
    if trigger is None:
        return table.drop(columns="affected_share")
    answered = pd.Series([answer for _, answer in made], index=table.index, dtype=bool)
    return table.assign(eligible=eligible(table["rationale_tokens"], answered, trigger))


def _reading(row: Any, trigger: Trigger | None, locate: Locate, baseline: Baseline | None) -> dict[str, Any]:
    tokens = TokenFlow.of_row(row)
    affected_T, share = affected_tokens(tokens, trigger, baseline) if trigger else (UNKNOWN, math.nan)
    column_N, first = column_saliency_of(row, affected_T), int(row.prompt_start) == 0
    return {
        **{name: getattr(row, name) for name in COPIED},
        "affected_share": share,
        "located": most_salient(column_N, locate),
        "accumulation": largest_share(column_N),
        "accumulation_z": largest_z(column_N),
        "accumulation_beyond_zero": largest_share(column_N[int(first) :]),
        "concentration": largest_share(column_N) / evenness(int(row.vectors)),
        "first_position": first,
    }


def received_saliency(row: Any, trigger: Trigger | None) -> Floats:
    """Return c_N of a row of table `flow`; locating needs the trigger where affected tokens alone receive."""
    return column_saliency_of(row, affected_tokens(TokenFlow.of_row(row), trigger)[0] if trigger else UNKNOWN)


def column_saliency_of(row: Any, affected_T: NDArray[np.bool_]) -> Floats:
    """Return c_N of a row of table `flow`.

    It is up to a factor where affected tokens receive; nothing that is read off it depends on that.
    """
    if row.band is None:
        return np.asarray(row.column_saliency)
    return received(np.asarray(row.band, dtype=np.float64).reshape(-1, int(row.vectors)), affected_T)
