"""What is known of each question, side by side: was it right, with and without the prompt, and what saliency reads.

One row per question is the ground of trigger quality, confounds and claims; table `evidence` in `columns.py`.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from dpc.analysis.readings.flow import Floats, Instance, affected_tokens, column_saliency, largest_share, pair_counts
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Locate, Trigger
from dpc.storage import tables


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


def evenness(vectors: int) -> float:
    """Return the expected largest share of a whole broken at random into `vectors` parts: (1 + 1/2 + ... + 1/n) / n.

    Source: David and Nagaraja (2003), Order Statistics, section 6.4. What no vector has to stand out for.
    """
    return float(np.mean([1 / number for number in range(1, vectors + 1)])) if vectors else math.nan


def extra_readings(saliency: pd.DataFrame, flow: Flow, trigger: Trigger, locate: Locate) -> pd.DataFrame:
    """Return what the readings of `flow.readings` leave out, one row per question.

    Columns: problem_id, first_position (the prompt's first vector stands at position 0), concentration (largest share /
    `evenness`), accumulation_beyond_zero (largest share among vectors that do not stand at position 0), band_log_ratio.
    """
    rows = []
    for row in tables.rows(saliency):
        instance, first = Instance.of(row), int(row.prompt_start) == 0
        affected_T = affected_tokens(instance, flow, trigger)[0] if locate.receivers == "affected" else None
        shallow = layer_range(flow.shallow_layers, instance.layers)
        column_N = column_saliency(instance, shallow, locate.receivers, affected_T)
        rows.append(
            {
                "problem_id": instance.problem_id,
                "first_position": first,
                "concentration": largest_share(column_N) / evenness(instance.vectors),
                "accumulation_beyond_zero": largest_share(column_N[int(first) :]),
                "band_log_ratio": band_log_ratio(instance),
            }
        )
    columns = ["problem_id", "first_position", "concentration", "accumulation_beyond_zero", "band_log_ratio"]
    return pd.DataFrame(rows, columns=columns)


def gather(
    readings: pd.DataFrame,
    extra: pd.DataFrame,
    right: pd.Series,
    right_unprompted: pd.Series,
    steps: pd.Series,
    fired: pd.Series,
    flow_change: float | None,
) -> pd.DataFrame:
    """Return table `evidence`. `right`, `right_unprompted` and `steps` are by problem_id, `fired` by row of `readings`.

    `flow_change` is D19's limit; None leaves `flow_changed` null.
    """
    table = readings.assign(fired=fired).merge(extra, on="problem_id", validate="one_to_one")
    ids = table["problem_id"]
    located = table["located"].map(lambda vectors: vectors[0] if len(vectors) else -1)
    changed = (table["s_ifp"] > flow_change) if flow_change is not None else pd.Series(None, index=table.index)
    return table.assign(
        correct=ids.map(right).astype(bool),
        correct_unprompted=ids.map(right_unprompted).astype(bool),
        steps=ids.map(steps),
        located=located,
        located_at_zero=(located == 0) & table["first_position"],
        flow_changed=changed.astype("boolean").mask(table["s_ifp"].isna()),
    )[list(tables.SCHEMAS["evidence"])]
