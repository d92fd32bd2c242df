"""Readings of the information flow from stored saliency: shares, accumulation, S_IFP. Axes: L layer, T rationale token,
N prompt vector. Formulas: docs/methods.md, steps 3 and 4, choices D7 to D20 (`docs/choices.md`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.analysis.readings.baseline import Baseline, of_cases
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate, Trigger
from dpc.errors import DpcError
from dpc.storage import tables

Floats = NDArray[np.float64]


ROUNDING = 1e-9
"""Relative difference below which two flows are equal: far above float64's rounding, far below stored float32's."""


@dataclass(frozen=True)
class Instance:
    """One question's stored saliency with its axes back."""

    problem_id: str
    vectors: int
    question_tokens: int
    rationale_tokens: int
    former: dict[str, int]
    step_of_token: NDArray[np.int64]
    row_prompt_LT: Floats
    row_question_LT: Floats
    row_rationale_LT: Floats
    row_former_LT: dict[str, Floats]
    column_question_LN: Floats
    column_rationale_LN: Floats
    band_TN: Floats
    nll_T: Floats
    entropy_T: Floats
    row_attention_LT: Floats
    attention_question_LN: Floats
    attention_rationale_LN: Floats

    @staticmethod
    def of(row: Any) -> Instance:
        """Read a row of the saliency table."""

        def shaped(name: str, *shape: int) -> Floats:
            return np.asarray(getattr(row, name), dtype=np.float64).reshape(shape)

        layers, tokens, vectors = int(row.layers), int(row.rationale_tokens), int(row.vectors)
        return Instance(
            problem_id=row.problem_id,
            vectors=vectors,
            question_tokens=int(row.question_tokens),
            rationale_tokens=tokens,
            former={"tokens": int(row.former_tokens), "steps": int(row.former_steps)},
            step_of_token=np.asarray(row.step_of_token, dtype=np.int64),
            row_prompt_LT=shaped("row_prompt", layers, tokens),
            row_question_LT=shaped("row_question", layers, tokens),
            row_rationale_LT=shaped("row_rationale", layers, tokens),
            row_former_LT={cut: shaped(f"row_former_{cut}", layers, tokens) for cut in ("tokens", "steps")},
            column_question_LN=shaped("column_question", layers, vectors),
            column_rationale_LN=shaped("column_rationale", layers, vectors),
            band_TN=shaped("band", tokens, vectors),
            nll_T=shaped("nll", tokens),
            entropy_T=shaped("entropy", tokens),
            row_attention_LT=shaped("row_attention", layers, tokens),
            attention_question_LN=shaped("attention_question", layers, vectors),
            attention_rationale_LN=shaped("attention_rationale", layers, vectors),
        )

    @property
    def layers(self) -> int:
        """Return the depth of the model."""
        return len(self.row_prompt_LT)


def token_flow(instance: Instance, deep: range) -> Floats:
    """Return s_T: mean saliency from the prompt's columns to each rationale row, over the deep layers (step 3)."""
    return instance.row_prompt_LT[list(deep)].mean(0) / max(instance.vectors, 1)


def affected_tokens(
    instance: Instance, flow: Flow, trigger: Trigger, baseline: Baseline | None = None
) -> tuple[NDArray[np.bool_], float]:
    """Return which tokens of the latter half are affected, and their share R is compared with (step 3; D7-D9).

    Affected: s > kappa x mean of s over the former half, strictly (constant flow affects none). With `granularity:
    step` the same over means of steps. A rationale without a former half has none. `trigger.baseline` may ask for
    another comparison, with a `baseline` of right calibration cases; where there is none, no token is affected.
    """
    deep = layer_range(flow.deep_layers, instance.layers)
    values = token_flow(instance, deep)
    if trigger.baseline != "former" and baseline is None:
        return np.zeros(instance.rationale_tokens, dtype=bool), 0.0
    if trigger.baseline == "detrend" and baseline:
        values = baseline.detrended(values)
    units = np.arange(instance.rationale_tokens)
    former = instance.former[flow.halves]
    if trigger.granularity == "step":
        units = instance.step_of_token
        values = np.bincount(units, weights=values) / np.bincount(units)
        former = len(values) // 2
    if former < 1 or former >= len(values):
        return np.zeros(instance.rationale_tokens, dtype=bool), 0.0
    usual = baseline.constant if trigger.baseline == "constant" and baseline else values[:former].mean()
    above = values > trigger.kappa * usual * (1 + ROUNDING)  # a mean of equal values may round down
    above[:former] = False
    return above[units], float(above.sum() / (len(values) - former))


def baseline_of(instances: Sequence[Instance], flow: Flow, trigger: Trigger, least: int) -> Baseline | None:
    """Return what `trigger.baseline` needs from right calibration cases; None where it needs nothing.

    None too with fewer than `least` cases.
    """
    if trigger.baseline == "former":
        return None
    flows = [token_flow(each, layer_range(flow.deep_layers, each.layers)) for each in instances]
    return of_cases([(s_T, i.former[flow.halves]) for s_T, i in zip(flows, instances, strict=True)], least)


def column_saliency(
    instance: Instance, shallow: range, receivers: str, affected_T: NDArray[np.bool_] | None = None
) -> Floats:
    """Return c_N: mean saliency of each prompt vector over the shallow layers and the receiving rows (step 4; D13).

    `affected` counts the affected tokens' rows, or all rationale rows where none is affected.
    """
    if receivers == "affected":
        rows = affected_T if affected_T is not None and affected_T.any() else slice(None)
        return np.asarray(instance.band_TN[rows].mean(0) / len(shallow))
    layers = list(shallow)
    total, rows_counted = instance.column_rationale_LN[layers].sum(0), instance.rationale_tokens
    if receivers == "question_and_rationale":
        total = total + instance.column_question_LN[layers].sum(0)
        rows_counted += instance.question_tokens - 1
    return np.asarray(total / (len(layers) * rows_counted))


def largest_z(values_N: Floats) -> float:
    """Return how many standard deviations the largest value stands above the mean (D18); nan if all are equal."""
    spread, mean = float(values_N.std()), float(values_N.mean())
    return float((values_N.max() - mean) / spread) if spread > ROUNDING * abs(mean) else math.nan


def largest_share(values_N: Floats) -> float:
    """Return the largest value's share of the sum; nan if the sum is 0."""
    total = float(values_N.sum())
    return float(values_N.max() / total) if total > 0 else math.nan


def pair_counts(questions: int, vectors: int, tokens: int, former: int) -> dict[str, int]:
    """Return how many (row, earlier column) pairs each block has; a row's own column is not counted.

    Rationale row t (from 0) stands at the position before token t, which is rationale column t - 1, or the last
    question column for t = 0.
    """
    latter = tokens - former
    return {
        "p→q": (questions - 1) * vectors,
        "p→r": tokens * vectors,
        "q→r": tokens * questions - min(tokens, 1),
        "r→r": max(tokens - 1, 0) * max(tokens - 2, 0) // 2,
        "p→former": former * vectors,
        "p→latter": latter * vectors,
        "q→latter": latter * questions - int(former == 0 and tokens > 0),
        "former→latter": latter * former - int(former > 0 and latter > 0),
    }


def block_means(instance: Instance, cut: str) -> dict[str, Floats]:
    """Return S[X→Y] per layer: mean saliency over pairs of a row in Y and an earlier column in X."""
    former = instance.former[cut]
    latter = slice(former, None)
    sums = {
        "p→q": instance.column_question_LN.sum(1),
        "p→r": instance.row_prompt_LT.sum(1),
        "q→r": instance.row_question_LT.sum(1),
        "r→r": instance.row_rationale_LT.sum(1),
        "p→former": instance.row_prompt_LT[:, :former].sum(1),
        "p→latter": instance.row_prompt_LT[:, latter].sum(1),
        "q→latter": instance.row_question_LT[:, latter].sum(1),
        "former→latter": instance.row_former_LT[cut][:, latter].sum(1),
    }
    counts = pair_counts(instance.question_tokens, instance.vectors, instance.rationale_tokens, former)
    return {
        block: total / counts[block] if counts[block] > 0 else np.full_like(total, math.nan)
        for block, total in sums.items()
    }


def s_ifp(blocks: dict[str, Floats], deep: range) -> tuple[float, float]:
    """Return S_IFP and the raw flow S[p→r_latter], both over the deep layers (D20).

    S_IFP = S[p→latter] / (S[p→latter] + S[q→latter] + S[former→latter]); nan where a block has no pair.
    """
    layers = list(deep)
    prompt, question, former = (float(blocks[b][layers].mean()) for b in ("p→latter", "q→latter", "former→latter"))
    total = prompt + question + former
    return (prompt / total if total > 0 else math.nan), prompt


def readings(
    saliency: pd.DataFrame,
    generations: pd.DataFrame,
    flow: Flow,
    trigger: Trigger,
    locate: Locate,
    baseline: Baseline | None = None,
) -> pd.DataFrame:
    """Return one row of readings per question: what the trigger, the locator and the study need.

    Columns: problem_id, split, vectors, rationale_tokens, nll and entropy (means, nats per token), attention (plain, to
    the prompt, mean over the deep layers and the rationale's rows), eligible (D27), share, located (list, most salient
    first), accumulation, accumulation_z, s_ifp, flow_latter. Raises DpcError unless generations and saliency are of the
    same questions.
    """
    answered = generations.set_index("problem_id")["extracted"].notna()
    missing = set(answered.index) - set(saliency["problem_id"])
    if missing:
        raise DpcError(f"{len(missing)} generations have no saliency, e.g. {min(missing)}; run extract_saliency again")
    strange = set(saliency["problem_id"]) - set(answered.index)
    if strange:
        found = f"{len(strange)} rows of saliency have no generation, e.g. {min(strange)}"
        raise DpcError(f"{found}; run extract_saliency again")
    rows = [
        {"split": row.split, **_reading(Instance.of(row), flow, trigger, locate, baseline)}
        for row in tables.rows(saliency)
    ]
    table = pd.DataFrame(rows, columns=["split", *READING_COLUMNS])
    told = table["problem_id"].map(answered).astype(bool)
    return table.assign(eligible=eligible(table["rationale_tokens"], told, trigger))


def eligible(tokens: pd.Series[int], answered: pd.Series[bool], trigger: Trigger) -> pd.Series[bool]:
    """Say which rationales DPC may fire on (D27): those that are long enough and have an answer."""
    return (tokens >= trigger.min_tokens) & answered


READING_COLUMNS = (
    "problem_id", "vectors", "rationale_tokens", "nll", "entropy", "attention", "share", "located", "accumulation",
    "accumulation_z", "s_ifp", "flow_latter",
)  # fmt: skip


def _reading(
    instance: Instance, flow: Flow, trigger: Trigger, locate: Locate, baseline: Baseline | None
) -> dict[str, Any]:
    shallow, deep = (layer_range(spec, instance.layers) for spec in (flow.shallow_layers, flow.deep_layers))
    affected_T, share = affected_tokens(instance, flow, trigger, baseline)
    column_N = column_saliency(instance, shallow, locate.receivers, affected_T)
    ratio, raw = s_ifp(block_means(instance, flow.halves), deep)
    return {
        "problem_id": instance.problem_id,
        "vectors": instance.vectors,
        "rationale_tokens": instance.rationale_tokens,
        "nll": float(instance.nll_T.mean()),
        "entropy": float(instance.entropy_T.mean()),
        "attention": float(instance.row_attention_LT[list(deep)].mean()),
        "share": share,
        "located": np.argsort(-column_N, kind="stable")[: locate.masked_vectors].tolist(),
        "accumulation": largest_share(column_N),
        "accumulation_z": largest_z(column_N),
        "s_ifp": ratio,
        "flow_latter": raw,
    }
