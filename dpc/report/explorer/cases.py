"""What the page holds, from the tables of one cell: text and verdicts of every case, and its numbers as codes.

Pure functions of tables. Axes: L layer, T rationale token, N prompt vector, K contributor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpc.analysis.readings import reading
from dpc.analysis.readings.baseline import Baseline
from dpc.analysis.readings.flow import Floats, Instance
from dpc.config.settings import Trigger
from dpc.errors import DpcError
from dpc.plans.declaration import in_order
from dpc.prompts.edits import BASE
from dpc.report.explorer import choosing, codes
from dpc.report.explorer.pieces import Tokenizer, pieces
from dpc.storage import tables

CONTRIBUTORS = 6
"""Prompt vectors kept for each token, those with the most saliency."""
Case = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """What every plan answered on the test questions of a cell."""

    plans: list[str]
    rows: pd.DataFrame
    """Table `outcomes`, one row per question and plan, with `edit_id`, `masked`, and `right` and what was `read`."""
    token_ids: Mapping[tuple[str, str], NDArray[np.int32]]
    """By `problem_id` and `edit_id`."""


def answers(outcomes: pd.DataFrame, plans: pd.DataFrame, generated: Iterable[pd.DataFrame]) -> Answers:
    """Join outcomes with the edit that each answer was made under. Plans that try several vectors are left out."""
    key = ["problem_id", "plan", "candidate"]
    rows = outcomes[outcomes["candidate"] < 0].merge(plans[[*key, "edit_id", "masked"]], on=key, validate="one_to_one")
    rows["edit_id"] = rows["edit_id"].where(rows["fired"], BASE)
    lenient = rows["plan"] == "no_prompt"  # it was never told the form of an answer
    rows["right"] = rows["correct_lenient"].where(lenient, rows["correct"])
    rows["read"] = rows["extracted_lenient"].where(lenient, rows["extracted"])
    token_ids = {
        (row.problem_id, row.edit_id): row.token_ids
        for table in generated
        for row in tables.rows(table[["problem_id", "edit_id", "token_ids"]])
    }
    return Answers(in_order(rows["plan"]), rows, token_ids)


def order(evidence: pd.DataFrame, known: Answers, caused: Collection[str]) -> list[str]:
    """Return the test questions in the order in which they are kept (`choosing.RULE`); `caused` were intervened on."""
    dpc = known.rows[known.rows["plan"] == "dpc"].set_index("problem_id")["right"].to_dict()
    patterns = {
        str(row.problem_id): (row.correct_unprompted, row.correct, dpc.get(row.problem_id))
        for row in tables.rows(evidence)
    }
    return choosing.in_turns(patterns, caused)


def verdicts(evidence: pd.DataFrame, known: Answers, problems: list[str], caused: Collection[str]) -> dict[str, Any]:
    """Return one digit per question of the cell, for filters that count all of them.

    `unprompted` and `base`: 1 right. `caused`: 1 intervened on. `plans`: 1 right, + 2 fired; 4 where the plan has no
    answer.
    """
    facts = evidence.set_index("problem_id").loc[problems]
    digits = known.rows["right"].astype(int) + 2 * known.rows["fired"].astype(int)
    table = known.rows.assign(digit=digits).pivot(index="problem_id", columns="plan", values="digit")
    table = table.reindex(problems).fillna(4).astype(int)
    return {
        "unprompted": _digits(facts["correct_unprompted"]),
        "base": _digits(facts["correct"]),
        "caused": _digits(problem in caused for problem in problems),
        "plans": [_digits(table[name]) for name in known.plans],
    }


def _digits(values: Iterable[Any]) -> str:
    return "".join(str(int(value)) for value in values)


def texts(problems: list[str], evidence: pd.DataFrame, known: Answers, tokenizer: Tokenizer) -> Iterator[Case]:
    """Yield question, gold, readings and answers of each case; prompt tuning's answer is the first.

    Raises DpcError where an answer is missing.
    """
    facts = {row.problem_id: row for row in tables.rows(evidence)}
    groups = dict(list(known.rows[known.rows["problem_id"].isin(problems)].groupby("problem_id", sort=False)))
    for problem in problems:
        if problem not in groups:
            raise DpcError(f"outcomes hold no answer to {problem}; run evaluate again")
        rows, own = groups[problem], facts[problem]
        yield {
            "id": problem,
            "question": rows["question"].iloc[0],
            "gold": rows["answer"].iloc[0],
            "unprompted": bool(own.correct_unprompted),
            "right": bool(own.correct),
            "eligible": bool(own.eligible),
            "share": _rounded(own.affected_share),
            "s_ifp": _rounded(own.s_ifp),
            "nll": _rounded(own.nll),
            "tokens": int(own.rationale_tokens),
            "located": int(own.located),
            "z": _rounded(own.accumulation_z),
            **_answered(problem, rows, known, tokenizer),
        }


def _answered(problem: str, rows: pd.DataFrame, known: Answers, tokenizer: Tokenizer) -> dict[str, Any]:
    """Return the distinct answers to a question, and by plan: which one, fired, right, masked vectors."""
    by_plan = {row.plan: row for row in tables.rows(rows)}
    edits = list(dict.fromkeys([BASE, *rows["edit_id"]]))
    said = {row.edit_id: row for row in tables.rows(rows)}
    if missing := [edit for edit in edits if (problem, edit) not in known.token_ids or edit not in said]:
        raise DpcError(f"found no answer to {problem} under edit {missing[0]}; run regenerate and evaluate again")
    return {
        "answers": [
            {
                "pieces": pieces(tokenizer, known.token_ids[problem, edit].tolist()),
                "extracted": None if pd.isna(said[edit].read) else str(said[edit].read),
                "stop": said[edit].stop_reason,
            }
            for edit in edits
        ],
        "plans": [
            [
                edits.index(row.edit_id),
                int(row.fired),
                int(row.right),
                [int(j) for j in row.masked] if row.fired else [],
            ]
            if (row := by_plan.get(name))
            else None
            for name in known.plans
        ],
    }


def _rounded(value: Any) -> float | None:
    """Return five digits of a number, None for null."""
    return None if pd.isna(value) else float(f"{float(value):.5g}")


def numbers(row: Any, flow: Any, trigger: Trigger, baseline: Baseline | None) -> Case:
    """Return the coded numbers of a case from its rows of tables `saliency` and `flow`, with what decodes them."""
    case, tokens = Instance.of(row), reading.TokenFlow.of_row(flow)
    seen = reading.compared(tokens, trigger, baseline)
    affected_T = seen.affected_T if seen else np.zeros(case.rationale_tokens, dtype=bool)
    contributors_TK = np.argsort(-case.band_TN, axis=1, kind="stable")[:, :CONTRIBUTORS]
    rows = max(case.question_tokens - 1, 1)
    arrays: dict[str, Floats] = {
        "flow": case.row_prompt_LT,
        "total": case.row_prompt_LT + case.row_question_LT + case.row_rationale_LT,
        "attention": case.row_attention_LT,
        "question": case.column_question_LN.sum(1) / rows,
        "question_attention": case.attention_question_LN.sum(1) / rows,
        "column": reading.column_saliency_of(flow, affected_T),
        "received": case.band_TN.sum(1),
        "contribution": np.take_along_axis(case.band_TN, contributors_TK, axis=1),
        "nll": np.maximum(case.nll_T, 0.0),  # rounding may fall below
        "entropy": np.maximum(case.entropy_T, 0.0),
        "compared": seen.values_T if seen else np.zeros(case.rationale_tokens),
    }
    low, high = contributors_TK % 256, contributors_TK // 256
    plain = b"".join(array.astype(np.uint8).tobytes() for array in (low, high, affected_T))
    block, largest = codes.packed(arrays, plain)
    beta = _rounded(seen.beta) if seen else None
    latter = int(np.searchsorted(seen.units, seen.former)) if seen else None
    return {"block": block, "largest": largest, "beta": beta, "latter": latter}
