"""The four tables of a study, from plain frames: numbers for machines, text for people, and a caption.

Accuracies are shares from 0 to 1, and percent where people read them. `accuracies` has one row per model,
dataset, recipe and plan with columns `model, dataset, recipe, plan, questions, accuracy, low, high, seed_low,
seed_high` and `fired`, the share of questions on which the plan fires; `evaluations` and `findings` are the
tables of those names, with columns `model, dataset, recipe, seed` as well.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.plans.declaration import in_order
from dpc.plans.declaration import label as plan_label
from dpc.report import captions
from dpc.report.captions import DASH
from dpc.report.published import (
    ACT_NOT_APPLIED,
    FLOW_RIGHT,
    FLOW_WRONG,
    TEST_ROWS,
    Published,
    comparable,
    not_run,
    published,
)
from dpc.tasks.base import AT_CHANCE

CELL = ["model", "dataset", "recipe"]
METHODS = ("no_prompt", "prompt_tuning", "act", "dpc")


@dataclass(frozen=True)
class Table:
    """One table: `numbers` for the CSV, `text` for readers."""

    name: str
    title: str
    numbers: pd.DataFrame
    text: pd.DataFrame
    caption: str


def percent(value: Any, digits: int = 1) -> str:
    """Write a share in percent, a dash where there is none."""
    value = captions.real(value)
    return DASH if math.isnan(value) else f"{100 * value:.{digits}f}"


def plain(value: Any, digits: int) -> str:
    """Write a number, a dash where there is none."""
    value = captions.real(value)
    return DASH if math.isnan(value) else f"{value:z.{digits}f}".replace("-", "−")


def span(low: Any, high: Any) -> str:
    """Write two shares as `36.0 to 40.2` percent, a dash where there are none."""
    return DASH if math.isnan(captions.real(low)) else f"{percent(low)} to {percent(high)}"


def points(value: Any, low: Any, high: Any) -> str:
    """Write a difference of shares as `+2.1 [−0.4, 4.6]` in percentage points, a dash where there is none."""
    value, low, high = (100 * captions.real(number) for number in (value, low, high))
    if math.isnan(value):
        return DASH
    return f"{value:+z.1f} [{low:z.1f}, {high:z.1f}]".replace("-", "−")


def main_table(accuracies: pd.DataFrame, settings: TablesStage) -> Table:
    """Return accuracy of the methods, per model, dataset and recipe, beside the published values."""
    found = {tuple(row[name] for name in [*CELL, "plan"]): row for row in accuracies.to_dict("records")}
    asked = {tuple(key): count for *key, count in accuracies[[*CELL, "questions"]].itertuples(index=False)}
    rows = []
    cells = list(itertools.product(settings.models, settings.datasets, settings.recipes))
    for cell in [*cells, *((*pair, "") for pair in not_run(settings.models, settings.datasets))]:
        for plan in METHODS:
            hidden = plan == "act" and settings.act.mode == "released"  # for the record, never the headline
            known = published(cell[0], cell[1], plan, asked.get(cell, math.nan))
            rows.append(_main_row(cell, plan, None if hidden else found.get((*cell, plan)), known))
    numbers = pd.DataFrame(rows)
    for ours, name in (("accuracy", "difference"), ("low", "difference_low"), ("high", "difference_high")):
        numbers[name] = numbers[ours] - numbers["published"]
    text = _named_cells(numbers)
    seeds = len(settings.prompt_seeds)
    text["method"] = [_method(*row, seeds) for row in zip(numbers["plan"], numbers["fired"], strict=True)]
    text["accuracy (%)"] = numbers["accuracy"].map(percent)
    text[f"{captions.level(settings)} interval"] = _spans(numbers, "low", "high")
    text["seeds, lowest to highest"] = _spans(numbers, "seed_low", "seed_high")
    text["read leniently (%)"] = numbers["lenient"].map(percent)
    text["published (%)"] = [
        f"{percent(value)} (not applied)" if _not_applied(model, plan) and not math.isnan(value) else percent(value)
        for model, plan, value in zip(numbers["model"], numbers["plan"], numbers["published"], strict=True)
    ]
    text["ours − published (points)"] = [
        points(*row) for row in zip(*(numbers[f"difference{end}"] for end in ("", "_low", "_high")), strict=True)
    ]
    numbers = numbers.drop(columns="fired")
    return Table("main", "Accuracy of the methods", numbers, text, _main_caption(numbers, settings))


def _main_row(
    cell: tuple[str, str, str], plan: str, ours: dict[Any, Any] | None, known: Published | None
) -> dict[str, Any]:
    columns = ("questions", "accuracy", "low", "high", "seed_low", "seed_high", "lenient", "fired")
    return {
        **dict(zip(CELL, cell, strict=True)),
        "plan": plan,
        **{column: math.nan if ours is None else ours[column] for column in columns},
        "published": known.accuracy / 100 if known else math.nan,
        "source": f"{known.source}{'; ACT not applied' * _not_applied(cell[0], plan)}" if known else "",
    }


def _not_applied(model: str, plan: str) -> bool:
    """Return whether a published row is prompt tuning under ACT's name."""
    return plan == "act" and model.lower() in ACT_NOT_APPLIED


def _method(plan: str, fired: float, seeds: int) -> str:
    """Name a method; ACT in which no head was confirmed says that it is prompt tuning."""
    label = plan_label(plan)
    if plan != "act" or math.isnan(captions.real(fired)) or fired == 1:
        return label
    without = seeds - round(fired * seeds)
    where = "" if without == seeds else f" in {without} of {seeds} seeds"
    return f"{label} (no head confirmed{where}: prompt tuning)"


def _main_caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    cells = len(settings.models) * len(settings.datasets) * len(settings.recipes)
    shown = numbers["published"].notna().any()
    beside = (
        "Published: the paper's poster, taken as exact in the difference"
        if shown
        else "No published value belongs to these models and datasets"
    )
    if "act" in settings.plans and settings.act.mode == "released":
        beside += "; ACT ran as the published function, which breaks cached decoding: see the ablation table"
    mistral = any(model.lower() in ACT_NOT_APPLIED for model in settings.models) and shown
    note = " (for Mistral-7B the published ACT row equals prompt tuning: ACT was not applied)" if mistral else ""
    return (
        f"Accuracy in % on {captions.count_range(_counts(numbers))} test questions per cell, "
        f"{captions.counted(cells, 'cell')}, mean over "
        f"{captions.counted(len(settings.prompt_seeds), 'seed')}. The {captions.level(settings)} interval is "
        "over questions, conditional on these seeds: each question counts with its mean over seeds. Read leniently: "
        "where no answer stands in the form the task asks for, the last that could be one counts; a model without "
        f"a prompt was never told that form. {beside}{note}. {_other_test_sets(numbers)}A dash under accuracy: not run "
        "here; under published and the difference: nothing published to set beside it. "
        f"{captions.method(settings)} {captions.run(settings)}"
    )


def _other_test_sets(numbers: pd.DataFrame) -> str:
    """Return the sentence on datasets of a published name whose test questions are not the published ones."""
    sizes = numbers.groupby("dataset", sort=False)["questions"].max()
    other = [
        f"{name} was evaluated on {size:.0f} test questions, the published numbers on {TEST_ROWS[name.lower()]}"
        for name, size in zip(map(str, sizes.index), sizes, strict=True)
        if name.lower() in TEST_ROWS and not comparable(name, size)
    ]
    return f"Not compared: {'; '.join(other)}. " if other else ""


def _counts(rows: pd.DataFrame) -> list[int]:
    return [int(count) for count in rows["questions"].dropna()]


def _named_cells(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[CELL].astype(str).replace("", DASH).reset_index(drop=True)


def _spans(rows: pd.DataFrame, low: str, high: str) -> list[str]:
    return [span(*pair) for pair in zip(rows[low], rows[high], strict=True)]


def _by_plan(
    evaluations: pd.DataFrame, settings: TablesStage, pool: Callable[[pd.DataFrame], dict[str, Any]]
) -> pd.DataFrame:
    """Return one row per cell and plan, in the order of the settings, made by `pool` from the seeds' rows."""
    rows = []
    for cell in itertools.product(settings.models, settings.datasets, settings.recipes):
        here = evaluations[(evaluations[CELL] == list(cell)).all(axis=1)]
        for plan in in_order(here["plan"]):
            seeds = here[here["plan"] == plan].sort_values("seed", key=lambda s: s.map(settings.prompt_seeds.index))
            rows.append({**dict(zip(CELL, cell, strict=True)), "plan": plan, **pool(seeds)})
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*CELL, "plan", *pool(evaluations)])


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


def _ablation_pool(seeds: pd.DataFrame) -> dict[str, Any]:
    means = ("accuracy", "low", "high", "accuracy_lenient", "fire_rate")
    return {
        "questions": seeds["questions"].max(),
        "ineligible": _sum(seeds["ineligible"]),
        **{name: seeds[name].mean() for name in means},
        "fixed": _sum(seeds["fixed"]),
        "broken": _sum(seeds["broken"]),
        "mcnemar_p": "; ".join("" if pd.isna(p) else f"{p:.4g}" for p in seeds["mcnemar_p"]),
        **_trigger_pool(seeds, "wrong", "wrong"),
        **_trigger_pool(seeds, "broken", "prompt_broke"),
        "truncated": _sum(seeds["truncated"]),
        "tokens": seeds["tokens"].mean(),
    }


def ablation_table(evaluations: pd.DataFrame, accuracies: pd.DataFrame, settings: TablesStage) -> Table:
    """Return every plan's accuracy, what it fixed and broke, its trigger and its cost in tokens.

    Intervals are those of `accuracies`; an oracle, not in there, keeps the mean of its seeds' intervals.
    """
    numbers = _by_plan(evaluations, settings, _ablation_pool)
    pooled = accuracies.set_index([*CELL, "plan"])
    for row, key in enumerate(zip(*(numbers[name] for name in [*CELL, "plan"]), strict=True)):
        if key in pooled.index:
            numbers.loc[row, ["low", "high"]] = pooled.loc[key, ["low", "high"]].astype(float).to_numpy()
    known = [published(*key) for key in numbers[["model", "dataset", "plan", "questions"]].itertuples(index=False)]
    numbers["published"] = [row.accuracy / 100 if row else math.nan for row in known]
    numbers["source"] = [row.source if row else "" for row in known]
    return Table(
        "ablation", "Plans, oracles and controls", numbers, _ablation_text(numbers, settings),
        _ablation_caption(numbers, settings),
    )  # fmt: skip


def _ablation_text(numbers: pd.DataFrame, settings: TablesStage) -> pd.DataFrame:
    text = _named_cells(numbers)
    text["plan"] = numbers["plan"].map(lambda name: _plan_text(str(name), settings))
    text["accuracy (%)"] = numbers["accuracy"].map(percent)
    text[f"{captions.level(settings)} interval"] = _spans(numbers, "low", "high")
    for name in ("fixed", "broken"):
        text[name] = [plain(value, 0) for value in numbers[name]]
    text["McNemar p per seed"] = [_p_list(str(value)) for value in numbers["mcnemar_p"]]
    text["fires (%)"] = numbers["fire_rate"].map(percent)
    for what, label in (("wrong", "wrong"), ("broken", "broken by p")):
        text[f"precision / recall, {label} (%)"] = [
            _pair(*pair) for pair in zip(numbers[f"precision_{what}"], numbers[f"recall_{what}"], strict=True)
        ]
    text["tokens"] = [plain(value, 1) for value in numbers["tokens"]]
    if numbers["published"].notna().any():
        text["published (%)"] = numbers["published"].map(percent)
    return text


def _plan_text(name: str, settings: TablesStage) -> str:
    released = name == "act" and settings.act.mode == "released"
    return f"{plan_label(name)}{' (published function, for the record)' * released}"


def _p_list(joined: str) -> str:
    parts = ["" if part == "" else captions.p_value(float(part)).replace("p = ", "") for part in joined.split("; ")]
    return "; ".join(part.replace("p < ", "<") or DASH for part in parts)


def _pair(left: Any, right: Any) -> str:
    parts = [percent(part, 0) for part in (left, right)]
    return DASH if parts == [DASH, DASH] else " / ".join(parts)


def _ablation_caption(numbers: pd.DataFrame, settings: TablesStage) -> str:
    act = "ACT fires on every question where heads were confirmed, and on none otherwise. "
    act = act if (numbers["plan"] == "act").any() else ""
    return (
        f"Every plan on {captions.count_range(_counts(numbers))} test questions per cell: accuracy (mean "
        f"over {captions.counted(len(settings.prompt_seeds), 'seed')}, {captions.level(settings)} interval "
        "over questions, conditional on these seeds), questions fixed and broken against prompt tuning "
        "(sums over seeds), exact McNemar p (one per seed, in the order of the seeds), share of questions "
        "on which the plan fires, precision and recall of firing, pooled over seeds, for questions that prompt "
        "tuning gets wrong and for those that the prompt broke (right without, wrong with it), and generated "
        "tokens per question, prompt tuning's own rationale included. Upper bounds look at test gold; their "
        f"intervals are means over seeds. {_ineligible(numbers, settings)}{act}A dash: not defined, as precision "
        "where nothing fires, or for a plan without a trigger. "
        f"{captions.method(settings)} {captions.run(settings)}"
    )


def _ineligible(numbers: pd.DataFrame, settings: TablesStage) -> str:
    """Return the sentence that counts the rationales on which DPC never fires (D27)."""
    counts = captions.count_range([int(count) for count in numbers["ineligible"].dropna()])
    asked = captions.count_range([count * len(settings.prompt_seeds) for count in _counts(numbers)])
    return (
        f"No answer, or fewer than {settings.trigger.min_tokens} tokens: {counts} of the {asked} rationales per cell "
        "(all seeds; by cell in the CSV, as ineligible); DPC, simpler triggers and random ones never fire there. "
    )


def _cost_pool(seeds: pd.DataFrame) -> dict[str, Any]:
    return {
        "questions": seeds["questions"].max(),
        "tokens": seeds["tokens"].mean(),
        "seconds": seeds["seconds"].mean(),
    }


def cost_table(evaluations: pd.DataFrame, settings: TablesStage) -> Table:
    """Return tokens and seconds per question and plan; seconds differ between runs and stand nowhere else."""
    numbers = _by_plan(evaluations, settings, _cost_pool)
    text = _named_cells(numbers)
    text["plan"] = numbers["plan"].map(lambda name: _plan_text(str(name), settings))
    text["tokens per question"] = [plain(value, 1) for value in numbers["tokens"]]
    text["seconds per question"] = [plain(value, 4) for value in numbers["seconds"]]
    caption = (
        "Generated tokens and wall-clock seconds of generation per question, means over "
        f"{captions.counted(len(settings.prompt_seeds), 'seed')} and "
        f"{captions.count_range(_counts(numbers))} test questions; prompt tuning's own rationale is included "
        "where a plan has to read it first. Seconds are a batch's time divided by its rows, so they depend "
        "on hardware and batch size and differ between runs; saliency is not in them. "
        f"{captions.run(settings)}"
    )
    return Table("cost", "Cost of the plans", numbers, text, caption)


def findings_table(findings: pd.DataFrame, settings: TablesStage) -> Table:
    """Return the numbers of the two analyses per cell: a column per seed; the CSV has a row per seed."""
    columns = [*CELL, "seed", "name", "value", "low", "high", "p", "n", "note"]
    numbers = findings[columns].reset_index(drop=True)
    order = [*captions.FINDINGS, *dict.fromkeys(numbers["name"])]
    present = [name for name in dict.fromkeys(order) if (numbers["name"] == name).any()]
    rows = []
    for cell in itertools.product(settings.models, settings.datasets, settings.recipes):
        here = numbers[(numbers[CELL] == list(cell)).all(axis=1)]
        rows += [_finding_row(here, cell, name, settings) for name in present]
    text = pd.DataFrame(rows, columns=[*CELL, "finding", *(f"seed {seed}" for seed in settings.prompt_seeds)])
    caption = (
        f"Numbers of the two analyses, with {captions.level(settings)} intervals in brackets; n: test "
        "instances. Accumulation and flow change are defined on right calibration cases before test "
        "instances are looked at; too few of them: not estimable. AUC above 0.5: larger when the answer is "
        "wrong. The paper's figure reads as a flow ratio, wrong to right, of about "
        f"{FLOW_WRONG / FLOW_RIGHT:.2f}. {captions.saliency(settings)} {captions.run(settings)}"
    )
    return Table("findings", "The two analyses", numbers, text, caption)


def _finding_row(here: pd.DataFrame, cell: tuple[str, str, str], name: str, settings: TablesStage) -> list[str]:
    told = [_finding_text(here[here["seed"] == seed], name) for seed in settings.prompt_seeds]
    return [*cell, captions.FINDINGS.get(name, name), *told]


def _finding_text(rows: pd.DataFrame, name: str) -> str:
    if not (rows["name"] == name).any():
        return DASH
    found = captions.finding(rows, name)
    if name == "fisher":
        return captions.p_value(captions.fisher_p(rows))
    text = captions.interval(found.value, found.low, found.high)
    if found.known and not math.isnan(found.p):
        text += f", {captions.p_value(found.p)}"
    if name.startswith("auc_") and found.note:
        return f"{text} ({found.note})"
    luck = f"; {AT_CHANCE}" if AT_CHANCE in found.note else ""
    return f"{text}{luck}" if found.n is None else f"{text} (n = {found.n}{luck})"
