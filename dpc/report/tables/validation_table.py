"""The table of planted harm: what each rule of locating finds, and what masking restores."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from dpc.config.slices import ValidationStage
from dpc.report import wording
from dpc.report.exhibits import table
from dpc.report.table_text import CELL, Table, percent

RULES = {
    "question_and_rationale": "question and rationale rows, shallow layers",
    "rationale": "rationale rows, shallow layers",
    "affected": "affected rows, shallow layers",
    "all_layers": "question and rationale rows, all layers",
    "deep_layers": "question and rationale rows, deep layers",
    "attention": "plain attention, shallow layers",
    "norm": "longest vector",
}
_COLUMNS = {
    "clean": "accuracy as tuned (%)",
    "planted": "accuracy with the harm (%)",
    "masked": "accuracy with the located vector masked (%)",
    "restored_true": "restored by masking the true vector (% of as tuned)",
    "hit": "located (% of answers)",
    "hit_harmed": "located (% of answers turned wrong)",
    "restored_located": "restored by masking the located vector (% of as tuned)",
    "clean_hit": "same place located without harm (%)",
    "random_hit": "random place located without harm (%)",
    "mask_first": "masking the true vector costs the most loss (% of prompts)",
    "dose_rank": "accuracy against the dose of harm (Spearman × 100)",
    "harm_gone": "lost accuracy back where no row sees it (%)",
    "harm_gone_late": "the same, rows of the latter half only (%)",
    "fire_rate": "fires (%)",
    "fire_harmed": "fires on wrong answers (%)",
}


@table(
    category="6 Validation",
    caption=(
        "Planted harm: one vector that does harm is put into working prompts. Which rule locates it, and what does "
        "masking it restore?"
    ),
    tables=("validation",),
    note="The seeds on which rules were compared are named below the table.",
    of="validation",
)
def validation(numbers: pd.DataFrame, settings: ValidationStage) -> Table:
    """Return the table of planted and natural harm; `numbers` is table `validation` with the columns of a cell."""
    text = numbers[CELL].astype(str).reset_index(drop=True)
    kinds = zip(numbers["kind"], numbers["part"], strict=True)
    text["finding"] = [f"{kind} harm, {part.replace('_', ' ')}" for kind, part in kinds]
    text["method"] = [_rule_text(row.rule, row.is_default) for row in numbers.itertuples()]
    for name, label in _COLUMNS.items():
        text[label] = [_with_interval(row, name) for row in numbers.to_dict("records")]
    return Table("validation", "Planted harm", numbers, text, _caption(numbers, settings))


def _rule_text(name: Any, is_default: Any) -> str:
    return f"{RULES.get(name, name)} (default)" if is_default else RULES.get(name, name)


def _with_interval(row: dict[Any, Any], name: str) -> str:
    low = row[f"{name}_low"]
    inside = "" if math.isnan(low) else f" [{percent(low)}, {percent(row[f'{name}_high'])}]"
    return f"{percent(row[name])}{inside}"


def _prompts(numbers: pd.DataFrame) -> str:
    """Return on how many prompts the rows of each part rest: `choosing 2, held out 3`."""
    counts = numbers.groupby("part", sort=False)["prompts"]
    ranges = {part: wording.count_range(own.astype(int).tolist()) for part, own in counts}
    return ", ".join(f"{str(part).replace('_', ' ')} {count}" for part, count in ranges.items()) or "none"


def _caption(numbers: pd.DataFrame, settings: ValidationStage) -> str:
    chance = percent(numbers["chance"].mean()) if len(numbers) else wording.DASH
    how = settings.planting
    natural = "Natural harm: prompts that do harm by themselves; no vector is known to cause it. "
    return (
        "Does locating find harm that is known to be there? One vector, no longer than the mean of the others, is "
        f"optimised ({how.steps} steps) so that rationales begin well and go wrong. It replaces one vector of a "
        f"working prompt, at {how.positions} positions that the prompt can spare, one at a time. Rows are rules of "
        "locating. Look whether the default rule's located column is near 100 and far above the same position "
        f"located without harm (a random position: {chance} % by chance). Rules were compared on prompt seeds "
        f"{', '.join(map(str, settings.choosing_seeds))} and calibration questions; rows held out are seeds "
        f"{', '.join(map(str, settings.held_out_seeds))} and test questions. Intervals: "
        f"{100 * settings.statistics.confidence:g} %, Student's, over prompts ({_prompts(numbers)}), each with its "
        "mean over positions. They say what another prompt would give; with one prompt there is none. R is fitted "
        "on each planted prompt's calibration questions. "
        f"{natural if (numbers['kind'] == 'natural').any() else ''}Study "
        f"{settings.study}.{wording.cut_note(settings.datasets, settings.cut_from_test)}"
    )
