"""Controls without DPC's trigger or vector: random questions, random vectors, the first vector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from dpc.plans.decisions import edit_of, located, rows
from dpc.plans.declaration import plan
from dpc.plans.registry import Inputs
from dpc.plans.triggers import dpc_fires
from dpc.storage import tables
from dpc.storage.hashing import hash_order


def _random_fires(inputs: Inputs, name: str) -> pd.Series:
    """Draw as many questions as DPC fires on, of those it may fire on (D27), by a hash of `problem_id`."""
    draw, readings = f"{name}:{inputs.controls.seed}", inputs.readings
    order = readings["problem_id"].map(lambda key: hash_order(key, draw)).where(readings["eligible"])
    return order.rank(method="first") <= int(dpc_fires(inputs).sum())


def _random_vectors(inputs: Inputs, others: bool = False) -> Iterator[tuple[int, list[int]]]:
    """Yield, per question, the number drawn for it and as many random vectors as DPC masks.

    With `others` the located ones come last: they are drawn only where the prompt has too few others.
    """
    for row in tables.rows(inputs.readings):
        draw = int(hash_order(row.problem_id, f"vector:{inputs.controls.seed}")[:8], 16)
        order = np.random.default_rng(draw).permutation(row.vectors).tolist()
        chosen = sorted(order, key=set(row.located).__contains__) if others else order
        yield draw, chosen[: len(row.located)]


@plan(label="Random corruption (DPC's rate)", kind="control", is_drawn=True, needs=("share", "accumulation_z"))
def random_corruption(inputs: Inputs) -> pd.DataFrame:
    """As many eligible questions as DPC fires on, at random; a random vector and as many random entries for each."""
    edits = [
        replace(edit_of(inputs.corrupt, chosen), gamma_seed=draw % 2**31) for draw, chosen in _random_vectors(inputs)
    ]
    return rows(inputs.readings["problem_id"], _random_fires(inputs, "random_corruption"), edits)


@plan(
    label="Random trigger (DPC's rate)",
    kind="control",
    answers="located",
    is_drawn=True,
    needs=("share", "accumulation_z"),
)
def random_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit for as many eligible questions as DPC fires on, drawn at random: is it the trigger?"""
    return located(inputs, _random_fires(inputs, "random_trigger"))


@plan(label="Random vector where DPC fires", kind="control", needs=("share", "accumulation_z"))
def random_token(inputs: Inputs) -> pd.DataFrame:
    """Another vector than the located one, at random, where DPC fires, gamma as DPC's: is it the vector?"""
    edits = [edit_of(inputs.corrupt, chosen) for _, chosen in _random_vectors(inputs, others=True)]
    return rows(inputs.readings["problem_id"], dpc_fires(inputs), edits)


@plan(label="First vector where DPC fires", kind="control", needs=("share", "accumulation_z"))
def first_vector(inputs: Inputs) -> pd.DataFrame:
    """The prompt's first vector where DPC fires: is it the sink at position 0?"""
    return rows(inputs.readings["problem_id"], dpc_fires(inputs), [edit_of(inputs.corrupt, [0])] * len(inputs.readings))
