"""Grade generations, join plans to them, and compare plans.

Pure functions of tables; docs/results.md has their columns. Gold enters in `grade` alone, which stage
`grade_answers` calls for one split at a time; what it writes is read by no generation, saliency, or plan of the test
split that is not an oracle.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dpc.analysis.stats.statistics import mcnemar, proportion
from dpc.config.settings import Statistics
from dpc.errors import DpcError
from dpc.prompts.edits import ACT, BASE, LIKELIHOOD, LIKELIHOOD_UNPROMPTED, UNPROMPTED
from dpc.storage import tables
from dpc.tasks.base import Task

BASELINE = "prompt_tuning"
"""The plan that every plan is compared with."""
WITHOUT_PROMPT = "no_prompt"
"""The plan that tells which questions the prompt broke."""

STAGES_OWN = ("ineligible", "memory_gb", "unchanged")
"""Columns of table `evaluation` that do not come from outcomes."""
_KEY = ["problem_id", "edit_id"]
_MAKER = {BASE: "generate_base", UNPROMPTED: "generate_unprompted", ACT: "generate_act"}
_MAKER |= dict.fromkeys((LIKELIHOOD, LIKELIHOOD_UNPROMPTED), "score_options")


def grade(generations: pd.DataFrame, gold: pd.DataFrame, task: Task) -> pd.DataFrame:
    """Return `generations` with `answer` (gold), `correct`, `correct_lenient` and `grader`.

    `correct` grades `extracted`, `correct_lenient` grades `extracted_lenient`; equal pairs of extracted and
    gold answer are graded once. Raises DpcError if a problem_id has no gold, or gold has it twice.
    """
    compare = cache(task.grade)
    answers = per_problem(generations["problem_id"], gold, "answer", "gold")
    graded = generations.assign(answer=answers, grader=str(task.VERSION))
    for column, source in (("correct", "extracted"), ("correct_lenient", "extracted_lenient")):
        # a missing answer is None to a task, but nan in a column of text
        found = [None if pd.isna(mine) else mine for mine in graded[source]]
        right = [compare(mine, answer) for mine, answer in zip(found, answers, strict=True)]
        graded[column] = pd.Series(right, index=graded.index, dtype=bool)
    return graded


def judged(generations: pd.DataFrame, verdicts: pd.DataFrame) -> pd.DataFrame:
    """Return `generations` with what `grade` adds, read from table `verdicts`. Raises DpcError where there is none."""
    found = verdicts[[*_KEY, "answer", "correct", "correct_lenient", "grader"]].drop_duplicates(_KEY)
    joined = generations.merge(found, on=_KEY, how="left", validate="one_to_one")
    lost = joined.loc[joined["answer"].isna(), "problem_id"]
    if len(lost):
        raise DpcError(f"{len(lost)} answers have no verdict, e.g. one to {lost.iloc[0]}; run grade_answers again")
    return joined.astype({"correct": bool, "correct_lenient": bool})


def outcomes(
    plans: pd.DataFrame,
    store: pd.DataFrame,
    questions: pd.DataFrame,
    measured: pd.DataFrame,
    one_pass: Collection[str],
    triggered: Collection[str],
) -> pd.DataFrame:
    """Return what every plan comes to: table `outcomes`, one row per row of `plans`, in their order.

    `store` holds graded generations (see `grade`): unprompted, base and regenerated ones. A row that fired takes the
    generation of its edit, one that did not takes the base generation. Plans in `one_pass` decide without a
    look at the base rationale; rows of all others that fire cost its tokens and seconds too. Plans in `triggered` cost
    a trigger for every question. `measured` has the seconds of saliency (`seconds_trigger`, `seconds_location`) by
    problem_id. Raises DpcError if a generation or a question is missing or stands there twice.
    """
    sized = store.drop(columns="token_ids").assign(tokens=store["token_ids"].map(len).astype("int64"))
    rows = taken(plans, sized)
    rows["question"] = per_problem(rows["problem_id"], questions, "question", "questions")
    rows = _costed(rows, sized[sized["edit_id"] == BASE], measured, one_pass, triggered)
    return rows[list(tables.SCHEMAS["outcomes"])]


def is_unchanged(store: pd.DataFrame) -> bool:
    """Say whether every answer under the prompt is, token for token, the one without it.

    `store` holds generations of one split, also edited ones.
    """
    by_edit = (store[store["edit_id"] == edit].set_index("problem_id").sort_index() for edit in (BASE, UNPROMPTED))
    under, without = (rows["token_ids"].map(lambda ids: np.asarray(ids, "<i4").tobytes()) for rows in by_edit)
    return len(under) > 0 and under.equals(without)


COSTS = ("seconds_generation", "seconds_trigger", "seconds_location", "seconds_regeneration")


def _costed(
    rows: pd.DataFrame,
    base: pd.DataFrame,
    measured: pd.DataFrame,
    one_pass: Collection[str],
    triggered: Collection[str],
) -> pd.DataFrame:
    """Return `rows`, whose tokens and seconds are those of the answer taken, with what all parts cost, and each.

    A plan that answers again has read the base rationale, and measured saliency on it: as a trigger for every question,
    fired or not, or, without a trigger, to locate a vector. One that tries every vector locates none.
    """
    again = rows["fired"] & ~rows["plan"].isin(list(one_pass))
    is_triggered, locates = rows["plan"].isin(list(triggered)), again & (rows["candidate"] < 0)
    first = {name: _where(again, rows, base, name, "base generations") for name in ("tokens", "seconds")}
    trigger = _where(is_triggered | locates, rows, measured, "seconds_trigger", "flow")
    location = _where(locates, rows, measured, "seconds_location", "flow")
    costs = {
        "seconds_generation": first["seconds"].where(again, rows["seconds"]),
        "seconds_trigger": trigger.where(is_triggered, 0.0),
        "seconds_location": location + trigger.mask(is_triggered, 0.0),
        "seconds_regeneration": rows["seconds"].where(again, 0.0),
        "tokens_regeneration": rows["tokens"].where(again, 0),
    }
    rows = rows.assign(**costs, tokens=rows["tokens"] + first["tokens"].astype(rows["tokens"].dtype))
    return rows.assign(seconds=rows[list(COSTS)].sum(axis=1))


def _where(is_wanted: pd.Series[bool], rows: pd.DataFrame, table: pd.DataFrame, column: str, name: str) -> Any:
    """Return `column` of `table` for the rows that want it, 0 for the others."""
    return per_problem(rows.loc[is_wanted, "problem_id"], table, column, name).reindex(rows.index, fill_value=0)


def evaluate(outcomes: pd.DataFrame, settings: Statistics, one_pass: Collection[str]) -> pd.DataFrame:
    """Return table `evaluation`: one row per plan, in the order in which plans first appear.

    Shares are of 0 to 1, tokens and seconds per question. Fixed and broken count questions against plan
    `prompt_tuning`. A trigger is judged against "prompt tuning was wrong" and "the prompt broke it" (right
    under `no_prompt`, read leniently, wrong under `prompt_tuning`); nan without `no_prompt` and for plans in
    `one_pass`. A plan with candidates is an upper bound over a sample of wrong questions, see `_upper_bound`.
    Columns `STAGES_OWN` are not in the outcomes: the stage adds them. Raises DpcError if
    `prompt_tuning` is missing, or a plan has another set of questions.
    """
    if outcomes.empty:
        return tables.empty("evaluation")
    groups = dict(iter(outcomes.groupby("plan", sort=False)))
    if BASELINE not in groups:
        found = ", ".join(map(str, groups))
        raise DpcError(f"outcomes: no plan {BASELINE!r}, only {found}; all are compared with it: add it to study.plans")
    reference = _reference(groups)
    rows = []
    for plan, group in groups.items():
        if (group["candidate"] >= 0).any():
            row = _upper_bound(group, reference, settings)
        else:
            row = _plain(_by_question(group, reference), reference, settings, triggered=plan not in one_pass)
        rows.append({"plan": plan, "questions": len(reference.base), **reference.counts(), **row})
    return pd.DataFrame(rows, columns=[name for name in tables.SCHEMAS["evaluation"] if name not in STAGES_OWN])


@dataclass(frozen=True)
class _Reference:
    """What plans are compared with, by problem_id in one fixed order."""

    base: pd.DataFrame
    """Outcomes of prompt tuning."""
    broken: pd.Series[bool] | None
    """Right without the prompt, read leniently, and wrong with it; None without plan `no_prompt`."""

    def counts(self) -> dict[str, int | None]:
        """Return how many questions are wrong, and how many of them the prompt broke."""
        broken = None if self.broken is None else int(self.broken.sum())
        return {"wrong": int((~self.base["correct"]).sum()), "prompt_broke": broken}


def _reference(groups: dict[Any, pd.DataFrame]) -> _Reference:
    # sorted, so that sums do not depend on the order of rows
    base = groups[BASELINE].set_index("problem_id").sort_index()
    alone = _Reference(base, None)
    _by_question(groups[BASELINE], alone)
    if WITHOUT_PROMPT not in groups:
        return alone
    unprompted = _by_question(groups[WITHOUT_PROMPT], alone)
    return _Reference(base, unprompted["correct_lenient"] & ~base["correct"])  # it was never told the form


def _by_question(group: pd.DataFrame, reference: _Reference) -> pd.DataFrame:
    """Return a plan's outcomes by problem_id, in the order of the reference."""
    rows = group.set_index("problem_id").sort_index()
    if not rows.index.is_unique or not rows.index.equals(reference.base.index):
        plan, odd = group["plan"].iloc[0], rows.index.symmetric_difference(reference.base.index)
        what = f"problem_id {odd[0]!r} is in one only" if len(odd) else "a problem_id appears twice"
        raise DpcError(f"outcomes: plan {plan!r} needs the questions of {BASELINE!r} once each, but {what}")
    return rows


def _plain(rows: pd.DataFrame, reference: _Reference, settings: Statistics, triggered: bool) -> dict[str, Any]:
    """Evaluate a plan that has one outcome per question."""
    right, before = rows["correct"], reference.base["correct"]
    fixed, broken = int((right & ~before).sum()), int((~right & before).sum())
    share = proportion(int(right.sum()), len(rows), settings.confidence)
    return {
        "accuracy": share.value,
        "low": share.low,
        "high": share.high,
        "accuracy_lenient": float(rows["correct_lenient"].mean()),
        "fixed": fixed,
        "broken": broken,
        "mcnemar_p": mcnemar(fixed, broken),
        "fire_rate": float(rows["fired"].mean()),
        **_trigger(rows["fired"], reference, triggered),
        "truncated": int((rows["stop_reason"] == "length").sum()),
        **{name: float(rows[name].mean()) for name in ("tokens", "tokens_regeneration", "seconds", *COSTS)},
        "note": share.note,
    }


def _upper_bound(group: pd.DataFrame, reference: _Reference, settings: Statistics) -> dict[str, Any]:
    """Evaluate a plan that tried several candidates on a sample of the questions prompt tuning got wrong.

    A question is right if any candidate is. Accuracy is the share right under prompt tuning plus the share
    wrong times the repaired share of the sample; its bounds scale Wilson's bounds of the repaired share, so
    they speak of these test questions and leave out how far other questions may lie. Tokens and seconds are
    scaled alike, with the base rationale of a tried question counted once. `fixed` counts repaired questions
    of the sample, `truncated` its cut-off generations; no test and no trigger go with it.
    """
    base, tried = reference.base, group[group["candidate"] >= 0]
    wrong = base[~base["correct"]]
    tried = tried[tried["problem_id"].isin(wrong.index)].sort_values(["problem_id", "candidate"])
    best = tried.groupby("problem_id")[["correct", "correct_lenient"]].any()
    start = base.loc[best.index]
    repaired = proportion(int(best["correct"].sum()), len(best), settings.confidence)
    kept, share_wrong = float(base["correct"].mean()), len(wrong) / len(base)
    sample = f"{len(best)} of {len(wrong)} wrong questions, {len(tried)} generations"
    # a base answer that is wrong strictly may be right leniently, and the oracle would keep it
    lenient = best["correct_lenient"] | start["correct_lenient"]
    return {
        "accuracy": kept + share_wrong * repaired.value,
        "low": kept + share_wrong * repaired.low,
        "high": kept + share_wrong * repaired.high,
        "accuracy_lenient": _scaled(base["correct_lenient"], base["correct"], lenient),
        "fixed": int(best["correct"].sum()),
        "broken": 0,
        "mcnemar_p": math.nan,
        "fire_rate": share_wrong,
        **dict.fromkeys(_TRIGGER, math.nan),
        "truncated": int((tried["stop_reason"] == "length").sum()),
        "tokens": _scaled(base["tokens"], base["correct"], _cost(tried, start, "tokens")),
        "seconds": _scaled(base["seconds"], base["correct"], _cost(tried, start, "seconds")),
        **{name: _scaled(base[name], base["correct"], start[name]) for name in COSTS},
        **{name: _scaled(base[name], base["correct"], tried.groupby("problem_id")[name].sum()) for name in _AGAIN},
        "note": f"upper bound, from {sample}; interval for these test questions",
    }


def _scaled(base: pd.Series[Any], right: pd.Series[bool], sample: pd.Series[Any]) -> float:
    """Return the mean of `base` where prompt tuning is right and of the sample where it is wrong."""
    wrong = int((~right).sum())
    filled = float(sample.mean()) * wrong if wrong else 0.0
    return (float(base[right].sum()) + filled) / len(base)


def _cost(tried: pd.DataFrame, start: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return what a tried question costs: its base rationale once, and every candidate's generation."""
    grouped = tried.groupby("problem_id")[column]
    # each candidate's row counts the base rationale
    return grouped.sum() - (grouped.size() - 1) * start[column]


_AGAIN = ("seconds_regeneration", "tokens_regeneration")
_TRIGGER = ("precision_wrong", "recall_wrong", "precision_broken", "recall_broken")


def _trigger(fired: pd.Series[bool], reference: _Reference, triggered: bool) -> dict[str, float]:
    """Return precision and recall of `fired` against wrong and against broken questions."""
    if not triggered:
        return dict.fromkeys(_TRIGGER, math.nan)
    found = _precision_recall(fired, ~reference.base["correct"])
    if reference.broken is None:
        return dict(zip(_TRIGGER, (*found, math.nan, math.nan), strict=True))
    return dict(zip(_TRIGGER, (*found, *_precision_recall(fired, reference.broken)), strict=True))


def _precision_recall(fired: pd.Series[bool], target: pd.Series[bool]) -> tuple[float, float]:
    """Return hits / fired and hits / targets; nan where there are none to share in."""
    hits = int((fired & target).sum())
    precision, recall = (hits / int(whole.sum()) if whole.any() else math.nan for whole in (fired, target))
    return precision, recall


def taken(plans: pd.DataFrame, sized: pd.DataFrame) -> pd.DataFrame:
    """Return the decisions of `plans`, each with the generation that it takes: its edit's where it fired, else base.

    Raises DpcError if a generation is missing or stands there twice.
    """
    rows = plans[["problem_id", "plan", "candidate", "fired", "edit_id"]].reset_index(drop=True)
    rows["edit_id"] = rows["edit_id"].where(rows["fired"], BASE)
    twice = sized[sized.duplicated(_KEY)]
    if len(twice):
        problem, edit = twice.iloc[0][_KEY]
        raise DpcError(f"store: edit {edit!r} of problem_id {problem!r} appears twice; expected it once")
    joined = rows.merge(sized, on=_KEY, how="left", indicator="found", validate="many_to_one")
    lost = joined[joined["found"] == "left_only"]
    if len(lost):
        plan, edit, problem = lost.iloc[0][["plan", "edit_id", "problem_id"]]
        raise DpcError(
            f"store: no generation for plan {plan!r}, edit {edit!r}, problem_id {problem!r} "
            f"({len(lost)} missing); run {_MAKER.get(edit, 'regenerate')}"
        )
    return joined.drop(columns="found")


def per_problem(ids: pd.Series[Any], table: pd.DataFrame, column: str, name: str) -> pd.Series[Any]:
    """Return `column` of `table` for each of `ids`; `name` is what errors call the table."""
    values = table.set_index("problem_id")[column]
    if not values.index.is_unique:
        double = values.index[values.index.duplicated()][0]
        raise DpcError(f"{name}: problem_id {double!r} appears twice; expected it once")
    lost = ids[~ids.isin(values.index)]
    if len(lost):
        raise DpcError(
            f"{name}: found no problem_id {lost.iloc[0]!r} ({lost.nunique()} missing); expected one row each"
        )
    return ids.map(values).astype(values.dtype)  # no ids at all would keep theirs
