"""What a plan decides, as rows of table `plans`: which questions fire, and which edit each of them gets."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from dpc.config.settings import Corrupt
from dpc.plans.registry import Inputs
from dpc.prompts.edits import BASE, Edit
from dpc.storage.hashing import hash_order


def edit_of(corrupt: Corrupt, vectors: Iterable[int]) -> Edit:
    """Return the configured corruption of these vectors."""
    return Edit(
        masked=tuple(sorted(vectors)),
        mask=corrupt.mask,
        mask_value=corrupt.mask_value if corrupt.mask == "scale" else 0.0,
        gamma=corrupt.gamma,
        gamma_scale=corrupt.gamma_scale,
        gamma_scope=corrupt.gamma_scope,
    )


def rows(problem_ids: pd.Series, fired: pd.Series, edits: list[Edit], candidate: int = -1) -> pd.DataFrame:
    """Put a plan's decisions into the columns of the `plans` table; an edit counts only where the plan fires."""
    idle = {**Edit().columns(), "edit_id": BASE}
    columns = [edit.columns() if fire else idle for fire, edit in zip(fired, edits, strict=True)]
    table = pd.DataFrame(columns, index=problem_ids.index, columns=list(idle))
    return table.assign(problem_id=problem_ids, fired=fired.astype(bool), candidate=candidate)


def located(inputs: Inputs, fired: pd.Series, change: Callable[[Edit], Edit] = lambda edit: edit) -> pd.DataFrame:
    """Plan DPC's edit of each question's located vectors, changed by `change`."""
    edits = [change(edit_of(inputs.corrupt, located)) for located in inputs.readings["located"]]
    return rows(inputs.readings["problem_id"], fired, edits)


def same_for_all(inputs: Inputs, fire: bool, edit: Edit) -> pd.DataFrame:
    """Plan one edit for every question, or none for any."""
    fired = pd.Series(fire, index=inputs.readings.index)
    return rows(inputs.readings["problem_id"], fired, [edit] * len(fired))


def first_by_hash(readings: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return a fixed sample of the questions."""
    return readings.sort_values("problem_id", key=lambda ids: ids.map(hash_order)).head(count)


def each_vector(sample: pd.DataFrame, corrupt: Corrupt, candidates: list[int]) -> pd.DataFrame:
    """Plan, for every question of the sample, one edit for each candidate vector."""
    fired = pd.Series(True, index=sample.index)
    tried = [rows(sample["problem_id"], fired, [edit_of(corrupt, [j])] * len(sample), candidate=j) for j in candidates]
    return pd.concat(tried, ignore_index=True)
