"""Every plan: accuracy, what it fixed and broke, its trigger, its cost in tokens."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.published import (
    published,
)
from dpc.report.table_text import (
    CELL,
    Table,
    named_cells,
    p_texts,
    percent,
    plain,
    questions,
    spans,
)
from dpc.report.tables.by_plan import by_plan, plan_texts, sampled
from dpc.report.wording import DASH


@table(
    category="5 Interventions",
    caption=(
        "Every plan: accuracy, questions fixed and broken, exact McNemar p per seed, how often it fires, its "
        "precision and recall, tokens."
    ),
    tables=("evaluation", "outcomes"),
)
def ablation(tables: Tables, settings: TablesStage) -> Table:
    """Return one row per cell and plan."""
    return build(tables.labelled("evaluation"), tables.accuracies(), settings)


def build(evaluations: pd.DataFrame, accuracies: pd.DataFrame, settings: TablesStage) -> Table:
    """Return every plan's accuracy, what it fixed and broke, its trigger and its cost in tokens.

    Intervals are those of `accuracies`; an oracle, not in there, keeps the mean of its seeds' intervals.
    """
    numbers = by_plan(evaluations, settings, _pool)
    pooled = accuracies.set_index([*CELL, "plan"])
    for row, key in enumerate(zip(*(numbers[name] for name in [*CELL, "plan"]), strict=True)):
        if key in pooled.index:
            numbers.loc[row, ["low", "high"]] = pooled.loc[key, ["low", "high"]].astype(float).to_numpy()
    known = [published(*key) for key in numbers[["model", "dataset", "plan", "questions"]].itertuples(index=False)]
    numbers["published"] = [row.accuracy / 100 if row else math.nan for row in known]
    numbers["source"] = [row.source if row else "" for row in known]
    return Table(
        "ablation", "Plans, oracles and controls", numbers, _text(numbers, settings),
        _caption(numbers, settings),
    )  # fmt: skip


def _sum(values: pd.Series) -> float:
    return float(values.sum()) if values.notna().any() else math.nan


def _trigger_pool(seeds: pd.DataFrame, what: str, of: str) -> dict[str, float]:
    """Return precision and recall of firing for the questions counted in column `of`, by counts over all seeds.

    As table `trigger` has them (`dpc.analysis.studies.trigger_quality.quality`); nan for a plan without a trigger.
    """
    names = [f"precision_{what}", f"recall_{what}"]
    if seeds[names].isna().all(axis=None):
        return dict.fromkeys(names, math.nan)
    hits = (seeds[names[1]] * seeds[of]).sum()
    wholes = (seeds["fire_rate"] * seeds["questions"]).sum(), seeds[of].sum()
    return {name: hits / whole if whole else math.nan for name, whole in zip(names, wholes, strict=True)}


def _pool(seeds: pd.DataFrame) -> dict[str, Any]:
    means = ("accuracy", "low", "high", "accuracy_lenient", "fire_rate")
    return {
        "questions": seeds["questions"].max(),
        "ineligible": _sum(seeds["ineligible"]),
        **{name: seeds[name].mean() for name in means},
        "fixed": _sum(seeds["fixed"]),
        "broken": _sum(seeds["broken"]),
        "mcnemar_p": tuple(seeds["mcnemar_p"].astype(float).where(seeds["fire_rate"] > 0)),  # else no test
        **_trigger_pool(seeds, "wrong", "wrong"),
        **_trigger_pool(seeds, "broken", "prompt_broke"),
        "truncated": _sum(seeds["truncated"]),
        "tokens": seeds["tokens"].mean(),
    }


def _text(numbers: pd.DataFrame, settings: TablesStage) -> pd.DataFrame:
    text = named_cells(numbers)
    text["plan"] = plan_texts(numbers, settings)
    text["accuracy (%)"] = numbers["accuracy"].map(percent)
    text[f"{wording.level(settings)} interval"] = spans(numbers, "low", "high")
    text["read leniently (%)"] = numbers["accuracy_lenient"].map(percent)
    for name in ("fixed", "broken"):
        text[name] = [plain(value, 0) for value in numbers[name]]
    text["McNemar p per seed"] = numbers["mcnemar_p"].map(p_texts)
    text["fires (%)"] = numbers["fire_rate"].map(percent)
    for what, label in (("wrong", "wrong"), ("broken", "broken by p")):
        text[f"precision / recall, {label} (%)"] = [
            _pair(*pair) for pair in zip(numbers[f"precision_{what}"], numbers[f"recall_{what}"], strict=True)
        ]
    text["cut short"] = [plain(value, 0) for value in numbers["truncated"]]
    text["tokens"] = [plain(value, 1) for value in numbers["tokens"]]
    if numbers["published"].notna().any():
        text["published (%)"] = numbers["published"].map(percent)
    return text


def _pair(left: Any, right: Any) -> str:
    parts = [percent(part, 0) for part in (left, right)]
    return DASH if parts == [DASH, DASH] else " / ".join(parts)


def _caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    act = "ACT fires on every question if heads were confirmed, else on none. "
    act = act if (numbers["plan"] == "act").any() else ""
    return (
        f"Every plan on {wording.count_range(questions(numbers))} test questions per cell: accuracy (mean over "
        f"{wording.counted(len(settings.prompt_seeds), 'seed')}, {wording.level(settings)} interval over "
        "questions, conditional on these seeds), accuracy read leniently (compare a model without a prompt by it: it "
        "was never told the form of an answer), questions fixed and broken against prompt tuning (sums over "
        "seeds), exact McNemar p (one per seed, in the order of the seeds; a dash: "
        "the plan fires on no question), share of questions on which the plan "
        "fires, precision and recall of firing, pooled over seeds, for questions that prompt tuning gets wrong and "
        "for those that the prompt broke (right without, wrong with it), and generated tokens per question, prompt "
        "tuning's own rationale included. Upper bounds look at test gold; their intervals are means over seeds. "
        f"{sampled(numbers)}{wording.CUT_SHORT} {_ineligible(numbers, settings)}{act}A dash: not defined, for "
        "example precision if nothing fires, or a plan without a trigger. "
        f"{wording.method(settings)} {wording.run(settings)}"
    )


def _ineligible(numbers: pd.DataFrame, settings: TablesStage) -> str:
    """Return the sentence that counts the rationales on which DPC never fires (D27)."""
    counts = wording.count_range([int(count) for count in numbers["ineligible"].dropna()])
    asked = wording.count_range([count * len(settings.prompt_seeds) for count in questions(numbers)])
    return (
        f"No answer, or fewer than {settings.trigger.min_tokens} tokens: {counts} of the {asked} rationales per cell "
        "(all seeds; by cell in the CSV, as ineligible); DPC, the simpler triggers and the random ones never fire "
        "on them. "
    )
