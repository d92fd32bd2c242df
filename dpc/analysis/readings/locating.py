"""Rules of locating the harmful vector, compared on planted harm, where it is known. Axes: N prompt vector."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from dpc.analysis.readings.flow import Floats, Instance, column_saliency
from dpc.analysis.readings.reading import TokenFlow, affected_tokens
from dpc.config.layers import layer_range
from dpc.config.settings import Flow, Trigger

Rule = Callable[[Instance, Flow, Trigger], Floats]


def _shallow(instance: Instance, flow: Flow) -> range:
    return layer_range(flow.shallow_layers, instance.layers)


def _affected(instance: Instance, flow: Flow, trigger: Trigger) -> Floats:
    affected_T = affected_tokens(TokenFlow.of(instance, flow), trigger)[0]
    return column_saliency(instance, _shallow(instance, flow), "affected", affected_T)


def _attention(instance: Instance, flow: Flow, trigger: Trigger) -> Floats:
    layers = list(_shallow(instance, flow))
    return np.asarray((instance.attention_question_LN + instance.attention_rationale_LN)[layers].sum(0))


RULES: dict[str, Rule] = {
    "question_and_rationale": lambda i, flow, _: column_saliency(i, _shallow(i, flow), "question_and_rationale"),
    "rationale": lambda i, flow, _: column_saliency(i, _shallow(i, flow), "rationale"),
    "affected": _affected,
    "all_layers": lambda i, flow, _: column_saliency(i, range(i.layers), "question_and_rationale"),
    "deep_layers": lambda i, flow, _: column_saliency(
        i, layer_range(flow.deep_layers, i.layers), "question_and_rationale"
    ),
    "attention": _attention,
}
"""Each gives every vector a value (N); the largest is to blame. `norm`, the vector's own length, is added below."""
NORM = "norm"


def located(instances: list[Instance], lengths_N: Floats, flow: Flow, trigger: Trigger) -> pd.DataFrame:
    """Return one row per instance and rule: problem_id, rule, located (the vector to blame), affected_share,
    rationale_tokens."""
    rows = []
    for instance in instances:
        share = affected_tokens(TokenFlow.of(instance, flow), trigger)[1]
        about = {
            "problem_id": instance.problem_id,
            "affected_share": share,
            "rationale_tokens": instance.rationale_tokens,
        }
        blamed = {name: rule(instance, flow, trigger) for name, rule in RULES.items()} | {NORM: lengths_N}
        rows += [{**about, "rule": name, "located": int(np.argmax(values_N))} for name, values_N in blamed.items()]
    return pd.DataFrame(rows)
