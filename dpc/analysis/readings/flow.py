"""The information flow of one question, from its stored saliency. Axes: L layer, T rationale token, N prompt vector.

Formulas: docs/methods.md, steps 3 and 4, choices D7 to D20 (`docs/choices.md`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate
from dpc.errors import DpcError

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


def column_saliency(
    instance: Instance, shallow: range, receivers: str, affected_T: NDArray[np.bool_] | None = None
) -> Floats:
    """Return c_N: mean saliency of each prompt vector over the shallow layers and the receiving rows (step 4; D13).

    `affected` counts the affected tokens' rows, or all rationale rows where none is affected.
    """
    if receivers == "affected":
        return received(instance.band_TN, affected_T) / len(shallow)
    layers = list(shallow)
    total, rows_counted = instance.column_rationale_LN[layers].sum(0), instance.rationale_tokens
    if receivers == "question_and_rationale":
        total = total + instance.column_question_LN[layers].sum(0)
        rows_counted += instance.question_tokens - 1
    return np.asarray(total / (len(layers) * rows_counted))


def received(band_TN: Floats, affected_T: NDArray[np.bool_] | None) -> Floats:
    """Return the mean over the affected tokens' rows, or over all rows where none is affected."""
    rows = affected_T if affected_T is not None and affected_T.any() else slice(None)
    return np.asarray(band_TN[rows].mean(0))


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


def prompt_influence(instance: Instance) -> Floats:
    """Return, per layer, the mean saliency of prompt columns over pairs with a question or rationale row."""
    pairs = pair_counts(instance.question_tokens, instance.vectors, instance.rationale_tokens, 0)
    total_L = instance.column_question_LN.sum(1) + instance.row_prompt_LT.sum(1)
    return np.asarray(total_L / max(pairs["p→q"] + pairs["p→r"], 1))


def band_log_ratio(instance: Instance) -> float:
    """Return log(mean influence in the paper's layers 2-10 of 32 / mean in all others); nan where a side is empty."""
    influence_L = prompt_influence(instance)
    inside = np.isin(np.arange(instance.layers), list(layer_range("paper", instance.layers)))
    if inside.all() or not influence_L[inside].mean() > 0 or not influence_L[~inside].mean() > 0:
        return math.nan
    return float(np.log(influence_L[inside].mean() / influence_L[~inside].mean()))


def late_flow(instance: Instance, flow: Flow) -> dict[str, float]:
    """Return S_IFP, the raw flow to the latter half over the deep layers (D20), and the mean NLL per token."""
    ratio, raw = s_ifp(block_means(instance, flow.halves), layer_range(flow.deep_layers, instance.layers))
    return {"s_ifp": ratio, "flow_latter": raw, "nll": float(instance.nll_T.mean())}


def derive(saliency: Iterable[Any], generations: pd.DataFrame, flow: Flow, locate: Locate) -> Iterator[dict[str, Any]]:
    """Yield the row of table `flow` for each row of table `saliency`.

    Nothing in it depends on the trigger. c_j is the mean over its receivers; where these are the affected tokens,
    which the trigger decides on, their band of rows x columns stands in its place. Raises DpcError unless generations
    and saliency are of the same questions.
    """
    answered = dict(zip(generations["problem_id"], generations["extracted"].notna(), strict=True))
    missing = set(answered)
    for row in saliency:
        if row.problem_id not in answered:
            raise DpcError(f"saliency of {row.problem_id} has no generation; run extract_saliency again")
        missing.discard(row.problem_id)
        yield {"answered": answered[row.problem_id], **_derived(row, flow, locate)}
    if missing:
        raise DpcError(f"{len(missing)} generations have no saliency, e.g. {min(missing)}; run extract_saliency again")


def _derived(row: Any, flow: Flow, locate: Locate) -> dict[str, Any]:
    instance = Instance.of(row)
    shallow, deep = (layer_range(spec, instance.layers) for spec in (flow.shallow_layers, flow.deep_layers))
    by_band = locate.receivers == "affected"
    return {
        "problem_id": instance.problem_id,
        "split": row.split,
        "layers": instance.layers,
        "vectors": instance.vectors,
        "prompt_start": int(row.prompt_start),
        "rationale_tokens": instance.rationale_tokens,
        "former": instance.former[flow.halves],
        "step_of_token": instance.step_of_token,
        "token_flow": token_flow(instance, deep),
        "column_saliency": None if by_band else column_saliency(instance, shallow, locate.receivers),
        "band": row.band if by_band else None,
        "entropy": float(instance.entropy_T.mean()),
        "attention": float(instance.row_attention_LT[list(deep)].mean()),
        "band_log_ratio": band_log_ratio(instance),
        **late_flow(instance, flow),
        **_seconds(row.seconds, shallow, deep),
    }


def _seconds(of_layer: Sequence[float], shallow: range, deep: range) -> dict[str, float]:
    """Return what reading the deep layers took, and the shallow ones behind them: the last layer is read first."""
    trigger = float(of_layer[deep.start])
    return {"seconds_trigger": trigger, "seconds_location": max(0.0, float(of_layer[shallow.start]) - trigger)}
