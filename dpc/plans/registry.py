"""The registry of interventions: each plan is a pure function from readings to one row per question.

A row says whether the plan fires, and if so which edit of the prompt answers the question again; where it does not
fire, prompt tuning's generation stands. A new plan is one function here, its name in `PlanName` of `kinds.py` (then
`make schema`) and in `PLAN_LABELS` of `drawing.py`; `ONE_PASS` and `cost.py` where it costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from dpc.config.settings import Controls, Corrupt, Trigger, did_you_mean
from dpc.errors import DpcError
from dpc.prompts.edits import ACT, BASE, UNPROMPTED, Edit
from dpc.storage import tables
from dpc.storage.hashing import hash_order


@dataclass(frozen=True)
class Inputs:
    """What a plan may look at. No gold: only the oracles' `wrong` was made with it."""

    readings: pd.DataFrame
    """Of one split, see `dpc.analysis.readings.reading.readings`."""
    trigger: Trigger
    corrupt: Corrupt
    controls: Controls
    share: float | None = None
    """R; None never fires."""
    accumulation_z: float | None = None
    """The limit of D18; None where it could not be estimated."""
    static_vector: int = -1
    """The one mask for everybody; -1 if none helped on calibration."""
    score_limits: Mapping[str, float | None] = field(default_factory=dict)
    """Of each of `SCORES`, the limit fitted on calibration; None never fires."""
    act_heads: int = 0
    """Heads in which attention calibration is switched on."""
    wrong: frozenset[str] = frozenset()
    """Questions prompt tuning got wrong (oracles only)."""


Plan = Callable[[Inputs], pd.DataFrame]
PLANS: dict[str, Plan] = {}
ORACLES: dict[str, Plan] = {}
CALIBRATION: dict[str, Plan] = {}
"""Made on the calibration split to fit thresholds."""
ONE_PASS = frozenset({"no_prompt", "prompt_tuning", "act", "static_mask"})
"""Plans that decide without a first rationale, so that a question costs one generation."""
SCORES = ("entropy", "nll", "attention")
"""Readings that trigger in place of the share of affected tokens; their limits are fitted as R is (D31)."""


def _register(registry: dict[str, Plan]) -> Callable[[Plan], Plan]:
    def add(plan: Plan) -> Plan:
        registry[plan.__name__] = plan
        return plan

    return add


def fires(readings: pd.DataFrame, trigger: Trigger, share: float | None, limit: float | None) -> pd.Series:
    """Say which questions DPC's trigger fires on (docs/methods.md, step 3; D15, D27): share of affected tokens > R.

    `limit` is D18's: with rule `share_and_accumulation` a limit that could not be estimated never fires.
    """
    if share is None:
        return pd.Series(False, index=readings.index)
    fired = readings["eligible"] & (readings["affected_share"] > share)
    if trigger.rule == "share_and_accumulation":
        fired &= (readings["accumulation_z"] > limit) if limit is not None else False
    return fired


def fires_on_score(readings: pd.DataFrame, score: str, limit: float | None) -> pd.Series:
    """Say which questions a simpler trigger fires on: reading `score` > limit, where eligible (D27)."""
    if limit is None:
        return pd.Series(False, index=readings.index)
    return readings["eligible"] & (readings[score] > limit)


def _dpc_fires(inputs: Inputs) -> pd.Series:
    return fires(inputs.readings, inputs.trigger, inputs.share, inputs.accumulation_z)


def _edit(corrupt: Corrupt, located: Iterable[int]) -> Edit:
    return Edit(
        masked=tuple(sorted(located)),
        mask=corrupt.mask,
        mask_value=corrupt.mask_value if corrupt.mask == "scale" else 0.0,
        gamma=corrupt.gamma,
        gamma_scale=corrupt.gamma_scale,
        gamma_scope=corrupt.gamma_scope,
    )


def _rows(problem_ids: pd.Series, fired: pd.Series, edits: list[Edit], candidate: int = -1) -> pd.DataFrame:
    """Put a plan's decisions into the columns of the `plans` table; an edit counts only where the plan fires."""
    idle = {**Edit().columns(), "edit_id": BASE}
    columns = [edit.columns() if fire else idle for fire, edit in zip(fired, edits, strict=True)]
    table = pd.DataFrame(columns, index=problem_ids.index, columns=list(idle))
    return table.assign(problem_id=problem_ids, fired=fired.astype(bool), candidate=candidate)


def _located(inputs: Inputs, fired: pd.Series, change: Callable[[Edit], Edit] = lambda edit: edit) -> pd.DataFrame:
    """Plan DPC's edit of each question's located vectors, changed by `change`."""
    edits = [change(_edit(inputs.corrupt, located)) for located in inputs.readings["located"]]
    return _rows(inputs.readings["problem_id"], fired, edits)


def _same_for_all(inputs: Inputs, fire: bool, edit: Edit) -> pd.DataFrame:
    fired = pd.Series(fire, index=inputs.readings.index)
    return _rows(inputs.readings["problem_id"], fired, [edit] * len(fired))


@_register(PLANS)
def no_prompt(inputs: Inputs) -> pd.DataFrame:
    """Answer without any soft prompt (the paper's Pretrained row)."""
    return _same_for_all(inputs, True, Edit()).assign(edit_id=UNPROMPTED)


@_register(PLANS)
def prompt_tuning(inputs: Inputs) -> pd.DataFrame:
    """Keep the soft prompt as tuned."""
    return _same_for_all(inputs, False, Edit())


@_register(PLANS)
def act(inputs: Inputs) -> pd.DataFrame:
    """Attention calibration for everybody; prompt tuning stands where no head was confirmed."""
    rows = _same_for_all(inputs, inputs.act_heads > 0, Edit())
    return rows.assign(edit_id=ACT) if inputs.act_heads else rows


@_register(PLANS)
def dpc(inputs: Inputs) -> pd.DataFrame:
    """Dynamic Prompt Corruption: where the trigger fires, mask the located vector and zero gamma's entries."""
    return _located(inputs, _dpc_fires(inputs))


@_register(PLANS)
@_register(CALIBRATION)
def always(inputs: Inputs) -> pd.DataFrame:
    """Corruption without trigger: DPC's edit for every question."""
    return _located(inputs, pd.Series(True, index=inputs.readings.index))


def _random_fires(inputs: Inputs, name: str) -> pd.Series:
    """Draw as many questions as DPC fires on, of those it may fire on (D27), by a hash of `problem_id`."""
    draw, readings = f"{name}:{inputs.controls.seed}", inputs.readings
    order = readings["problem_id"].map(lambda key: hash_order(key, draw)).where(readings["eligible"])
    return order.rank(method="first") <= int(_dpc_fires(inputs).sum())


def _random_vectors(inputs: Inputs, others: bool = False) -> Iterator[tuple[int, list[int]]]:
    """Yield, per question, the number drawn for it and as many random vectors as DPC masks.

    With `others` the located ones come last: they are drawn only where the prompt has too few others.
    """
    for row in tables.rows(inputs.readings):
        draw = int(hash_order(row.problem_id, f"vector:{inputs.controls.seed}")[:8], 16)
        order = np.random.default_rng(draw).permutation(row.vectors).tolist()
        chosen = sorted(order, key=set(row.located).__contains__) if others else order
        yield draw, chosen[: len(row.located)]


@_register(PLANS)
def random_corruption(inputs: Inputs) -> pd.DataFrame:
    """As many eligible questions as DPC fires on, at random; a random vector and as many random entries for each."""
    edits = [
        replace(_edit(inputs.corrupt, chosen), gamma_seed=draw % 2**31) for draw, chosen in _random_vectors(inputs)
    ]
    return _rows(inputs.readings["problem_id"], _random_fires(inputs, "random_corruption"), edits)


@_register(PLANS)
def random_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit for as many eligible questions as DPC fires on, drawn at random: is it the trigger?"""
    return _located(inputs, _random_fires(inputs, "random_trigger"))


@_register(PLANS)
def random_token(inputs: Inputs) -> pd.DataFrame:
    """Another vector than the located one, at random, where DPC fires, gamma as DPC's: is it the vector?"""
    edits = [_edit(inputs.corrupt, chosen) for _, chosen in _random_vectors(inputs, others=True)]
    return _rows(inputs.readings["problem_id"], _dpc_fires(inputs), edits)


@_register(PLANS)
def first_vector(inputs: Inputs) -> pd.DataFrame:
    """The prompt's first vector where DPC fires: is it the sink at position 0?"""
    return _rows(inputs.readings["problem_id"], _dpc_fires(inputs), [_edit(inputs.corrupt, [0])] * len(inputs.readings))


@_register(PLANS)
def mask_only(inputs: Inputs) -> pd.DataFrame:
    """DPC without gamma: mask the located vector, leave the others whole."""
    return _located(inputs, _dpc_fires(inputs), lambda edit: replace(edit, gamma=0.0))


@_register(PLANS)
def gamma_only(inputs: Inputs) -> pd.DataFrame:
    """DPC without the mask: zero gamma's entries, keep the located vector."""
    return _located(inputs, _dpc_fires(inputs), lambda edit: replace(edit, mask="scale", mask_value=1.0))


@_register(PLANS)
def identity(inputs: Inputs) -> pd.DataFrame:
    """Generate the fired questions again under the unchanged prompt: in bfloat16 the noise floor."""
    return _located(inputs, _dpc_fires(inputs), lambda edit: replace(edit, mask="scale", mask_value=1.0, gamma=0.0))


@_register(PLANS)
def static_mask(inputs: Inputs) -> pd.DataFrame:
    """One corruption for everybody: the vector that helped most on calibration; nobody's if none helped."""
    vector = inputs.static_vector
    return _same_for_all(inputs, vector >= 0, _edit(inputs.corrupt, [max(vector, 0)]))


@_register(PLANS)
def entropy_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit where the rationale's mean entropy is above its limit."""
    return _scored(inputs, "entropy")


@_register(PLANS)
def nll_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit where the rationale's mean NLL is above its limit."""
    return _scored(inputs, "nll")


@_register(PLANS)
def attention_trigger(inputs: Inputs) -> pd.DataFrame:
    """DPC's edit where plain attention to the prompt, in place of saliency, is above its limit."""
    return _scored(inputs, "attention")


def _scored(inputs: Inputs, score: str) -> pd.DataFrame:
    return _located(inputs, fires_on_score(inputs.readings, score, inputs.score_limits.get(score)))


@_register(CALIBRATION)
def static_candidates(inputs: Inputs) -> pd.DataFrame:
    """Try the vectors located most often, each as one mask for a fixed sample of the questions.

    Where fewer were ever located, the first of the others fill up: every prompt gives the static mask as many tries.
    """
    readings, controls = inputs.readings, inputs.controls
    counts = np.bincount([j for located in readings["located"] for j in located], minlength=readings["vectors"].max())
    candidates = np.argsort(-counts, kind="stable")[: controls.static_candidates]
    sample = _first_by_hash(readings, controls.static_questions)
    return _each(sample, inputs.corrupt, candidates.tolist())


@_register(ORACLES)
def oracle_trigger(inputs: Inputs) -> pd.DataFrame:
    """Upper bound of every trigger: DPC's edit for just the questions prompt tuning got wrong."""
    return _located(inputs, inputs.readings["problem_id"].isin(inputs.wrong))


@_register(ORACLES)
def oracle_token(inputs: Inputs) -> pd.DataFrame:
    """Upper bound: try every vector on a sample of the questions prompt tuning got wrong."""
    wrong = inputs.readings[inputs.readings["problem_id"].isin(inputs.wrong)]
    sample = _first_by_hash(wrong, inputs.controls.oracle_questions)
    return _each(sample, inputs.corrupt, list(range(int(inputs.readings["vectors"].max()))))


def _first_by_hash(readings: pd.DataFrame, count: int) -> pd.DataFrame:
    return readings.sort_values("problem_id", key=lambda ids: ids.map(hash_order)).head(count)


def _each(sample: pd.DataFrame, corrupt: Corrupt, candidates: list[int]) -> pd.DataFrame:
    fired = pd.Series(True, index=sample.index)
    tried = [_rows(sample["problem_id"], fired, [_edit(corrupt, [j])] * len(sample), candidate=j) for j in candidates]
    return pd.concat(tried, ignore_index=True)


def make(names: Iterable[str], registry: dict[str, Plan], inputs: Inputs) -> pd.DataFrame:
    """Return the `plans` table of the plans `names`. Raises DpcError for a name the registry lacks."""
    made = []
    for name in names:
        check_name(name, registry)
        made.append(registry[name](inputs).assign(plan=name))
    return pd.concat(made, ignore_index=True)


def check_name(name: str, registry: dict[str, Plan]) -> None:
    """Raise DpcError, with the nearest right name, if `registry` has no plan `name`."""
    if name not in registry:
        raise DpcError(f"unknown plan {name!r}{did_you_mean(name, registry)}")


def edits_of(plans: pd.DataFrame) -> pd.DataFrame:
    """Return what has to be generated: fired rows, unique by question and content, but those that come ready."""
    wanted = plans[plans["fired"] & ~plans["edit_id"].isin([UNPROMPTED, ACT])]
    return wanted.drop_duplicates(["problem_id", "edit_id"]).reset_index(drop=True)
