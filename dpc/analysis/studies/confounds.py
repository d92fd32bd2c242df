"""Do the readings say more about error than the model's own confidence, the rationale's length and the number of steps?

Partial rank correlations (Spearman's, all columns as ranks), and nested logistic models compared by likelihood ratio
(D21). Both use every test question whose rationale is long enough to be read.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.analysis.stats import pooled
from dpc.analysis.stats.pooled import FISHER, Pooled
from dpc.analysis.stats.verdicts import POSITIVES, TOO_LITTLE

Array = NDArray[np.float64]
GIVEN = ("nll", "rationale_tokens", "steps")
"""Mean negative log-likelihood per token, tokens of the rationale, reasoning steps of the gold rationale."""
READINGS = ("accumulation", "accumulation_beyond_zero", "flow_changed", "s_ifp", "flow_latter")
_STEPS = 30
"""Newton's steps double the right digits; a coefficient that grows for ever gains about one a step."""
COLUMNS = [
    "reading", "raw", "raw_low", "raw_high", "partial", "partial_low", "partial_high", "seed_low", "seed_high", "p",
    "questions", "wrong", "likelihood_ratio_p", "odds_ratio", "first", "first_low", "first_high", "note",
]  # fmt: skip


@dataclass(frozen=True)
class Fit:
    """A logistic model without penalty."""

    coefficients: Array
    """Intercept first, per standard deviation."""
    log_likelihood: float
    converged: bool
    """Newton's steps came to rest: where right and wrong can be parted without error they never do."""


def usable(evidence: pd.DataFrame) -> pd.DataFrame:
    """Return the test rows that have every reading but, maybe, a flow change."""
    test = evidence[evidence["split"] == "test"]
    return test[test[["accumulation", "s_ifp", *GIVEN]].notna().all(axis=1)]


def confounds(evidence: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return one row per reading of one cell, columns `COLUMNS`; `evidence` has all seeds and a column `seed`.

    `first` is the share of questions where the prompt's first vector is located: is it the sink at position 0?
    """
    rows = usable(evidence)
    table = pd.DataFrame([_reading(rows, name, confidence) for name in READINGS], columns=COLUMNS)
    first = pooled.share(rows["located"] == 0, np.ones(len(rows)), rows["problem_id"], confidence)
    about = table["reading"] == "accumulation"
    table[["first", "first_low", "first_high"]] = math.nan
    table.loc[about, ["first", "first_low", "first_high"]] = first.value, first.low, first.high
    return table


def partial(rows: pd.DataFrame, reading: str, given: tuple[str, ...], confidence: float) -> Pooled:
    """Return the rank correlation of a reading with error, freed of the columns `given`."""
    known = rows[rows[reading].notna()]
    columns = (known[name].astype(float) for name in (reading, *given))
    first = next(columns)
    return pooled.pool(
        pooled.rank_correlation, known["seed"], known["problem_id"], first, ~known["correct"].astype(bool), *columns,
        confidence=confidence, scale=FISHER,
    )  # fmt: skip


def _reading(rows: pd.DataFrame, name: str, confidence: float) -> dict[str, object]:
    known = rows[rows[name].notna()]
    wrong = known.loc[~known["correct"].astype(bool), "problem_id"].nunique()
    right = known.loc[known["correct"].astype(bool), "problem_id"].nunique()
    raw, freed = (partial(known, name, given, confidence) for given in ((), GIVEN))
    tests = [_likelihood_ratio(own, name) for _, own in known.groupby("seed")]
    left_out = sum(test.left_out for test in tests)
    notes = [
        TOO_LITTLE if min(wrong, right) < POSITIVES else "",
        f"{left_out} rows left out that the confounds predict without error" if left_out else "",
        *(test.note for test in tests),
    ]
    return {
        "reading": name, "raw": raw.value, "raw_low": raw.low, "raw_high": raw.high, "partial": freed.value,
        "partial_low": freed.low, "partial_high": freed.high, "seed_low": freed.seed_low,
        "seed_high": freed.seed_high, "p": freed.p, "questions": known["problem_id"].nunique(), "wrong": wrong,
        "likelihood_ratio_p": tuple(test.p for test in tests),
        "odds_ratio": tuple(test.odds_ratio for test in tests),
        "note": "; ".join(dict.fromkeys(filter(None, notes))),
    }  # fmt: skip


@dataclass(frozen=True)
class _Test:
    """A likelihood ratio of one seed."""

    p: float = math.nan
    odds_ratio: float = math.nan
    left_out: int = 0
    note: str = ""


def _likelihood_ratio(rows: pd.DataFrame, name: str) -> _Test:
    """Return p of the reading's likelihood ratio beyond the confounds, and its odds ratio per SD.

    Rows that the confounds alone part from the rest without error say nothing about the reading and are left out.
    """
    kept, columns = rows, list(GIVEN)
    while len(kept) and (parted := _parted(kept, columns)).any():
        kept = kept[~parted]
    left_out, wrong = len(rows) - len(kept), ~kept["correct"].to_numpy(dtype=bool)
    if wrong.all() or not wrong.any() or kept[name].nunique() < 2:
        return _Test(left_out=left_out, note="a seed has one kind of answer or reading only")
    if _parted(kept, [*columns, name]).any():
        return _Test(left_out=left_out, note="separation: a seed's readings part right from wrong without error")
    small, large = (logistic(_columns(kept, names), wrong) for names in (columns, [*columns, name]))
    return _Test(likelihood_ratio_p(small, large, 1), math.exp(large.coefficients[-1]), left_out)


def _columns(rows: pd.DataFrame, names: list[str]) -> Array:
    return rows[names].to_numpy(dtype=float)


def _parted(rows: pd.DataFrame, names: list[str]) -> NDArray[np.bool_]:
    columns, wrong = _columns(rows, names), ~rows["correct"].to_numpy(dtype=bool)
    if logistic(columns, wrong).converged:
        return np.zeros(len(rows), dtype=bool)
    return separated(standardised(columns), wrong)


def likelihood_ratio_p(small: Fit, large: Fit, more: int) -> float:
    """Return p of `large` against the nested `small`, which lacks `more` columns (Wilks (1938))."""
    from scipy.special import chdtrc

    return float(chdtrc(more, max(0.0, 2 * (large.log_likelihood - small.log_likelihood))))


def standardised(columns_AV: Array) -> Array:
    """Return the columns at mean 0 and standard deviation 1, behind one of ones; what does not vary becomes 0."""
    centred = columns_AV - columns_AV.mean(0)
    spread = centred.std(0)
    return np.column_stack([np.ones(len(centred)), centred / np.where(spread > 0, spread, 1.0)])


def logistic(columns_AV: Array, positive_A: NDArray[np.bool_]) -> Fit:
    """Fit P(positive) = 1 / (1 + exp(-(b0 + b x))) by Newton's steps, without a penalty, on standardised columns.

    There is a finite fit only where `separated` parts nothing.
    """
    design, converged = standardised(columns_AV), False
    coefficients = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = _chances(design, coefficients)
        weighted = design * np.maximum(chance * (1 - chance), 1e-12)[:, None]
        step = np.linalg.lstsq(design.T @ weighted, design.T @ (positive_A - chance), rcond=1e-12)[0]
        coefficients += step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if converged := bool(np.abs(step).max() < 1e-8):
            break
    signed = np.where(positive_A, 1, -1) * (design @ coefficients)
    return Fit(coefficients, float(-np.logaddexp(0, -signed).sum()), converged)


def _chances(design: Array, coefficients: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(design @ coefficients))


def separated(design_AV: Array, positive_A: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows some direction parts from the others without error; where any is, no finite fit exists.

    A linear programme finds the direction: Konis (2007), Linear Programming Algorithms for Detecting Separated Data,
    chapter 4.
    """
    from scipy.optimize import linprog

    signed = np.where(positive_A, 1.0, -1.0)[:, None] * design_AV
    found = linprog(-signed.sum(0), A_ub=-signed, b_ub=np.zeros(len(signed)), bounds=(-1, 1), method="highs")
    return np.asarray(signed @ found.x > 1e-6)
