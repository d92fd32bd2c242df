"""The paper's claims, with verdicts by a rule fixed beforehand."""

from __future__ import annotations

import math

import pandas as pd

from dpc.analysis.stats.power import planned_detectable
from dpc.analysis.studies import causal
from dpc.analysis.studies import claims as judging
from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import LIGHT, Tables
from dpc.report.exhibits import TABLES, table
from dpc.report.prompts import prompts
from dpc.report.table_text import (
    CELL,
    Table,
    bracketed,
    p_text,
    plain,
    ranged,
)
from dpc.report.wording import DASH


@table(
    category="1 Claims",
    caption=(
        "Each claim of the paper, the test, the number with its intervals, and the verdict by a rule fixed "
        "beforehand (docs/claims.md)."
    ),
    tables=("evidence", "outcomes", "mechanism", "causal", "thresholds", "interpretability"),
)
def claims(tables: Tables, settings: TablesStage) -> Table:
    """Return one row per cell and claim."""
    return build(judged(tables, settings), settings, _planned(_cells(tables, settings), settings))


def judged(tables: Tables, settings: TablesStage) -> pd.DataFrame:
    """Return every claim's number and verdict, per cell, and of all prompts together, once for all that ask."""
    return tables.once("claims", lambda: _judge(tables, settings))


def _judge(tables: Tables, settings: TablesStage) -> pd.DataFrame:
    of_cells = judging.judge_all(_cells(tables, settings), (*judging.CLAIMS, *causal.CLAIMS))
    of_prompts = judging.judge_prompts(prompts(tables), settings.statistics.confidence)
    return pd.concat([of_cells, of_prompts], ignore_index=True)


def _cells(tables: Tables, settings: TablesStage) -> dict[tuple[str, ...], judging.Cell]:
    of_cells = [name for name in TABLES["claims"].tables if name != "interpretability"]  # that is of prompts
    read = {name: tables.by_cell(name, LIGHT.get(name)) for name in of_cells}
    fitted, is_released = read["thresholds"], settings.act.mode == "released"
    return {
        cell: judging.Cell(
            **{name: found[cell] for name, found in read.items()},
            confidence=settings.statistics.confidence,
            chance=chance,
            right_cases=dict(zip(fitted[cell]["seed"], fitted[cell]["right_cases"].astype(int), strict=True)),
            min_cases=settings.significance.min_cases,
            left_out={"act": "act.mode is released: ACT ran for the record only"} if is_released else {},
        )
        for cell, chance in tables.chances().items()
    }


def _planned(cells: dict[tuple[str, ...], judging.Cell], settings: TablesStage) -> dict[str, float]:
    """Return each dataset's detectable gain, a share."""
    asked = {dataset: cell.outcomes["problem_id"].nunique() for (_, dataset, _), cell in cells.items()}
    seeds, level = len(settings.prompt_seeds), settings.statistics.confidence
    return {name: planned_detectable(count, seeds, len(cells), level) for name, count in asked.items()}


def build(claims: pd.DataFrame, settings: TablesStage, planned: dict[str, float]) -> Table:
    """Return one row per cell and claim; `planned` gives each dataset's detectable gain, a share."""
    numbers = claims.reset_index(drop=True)
    text = numbers[CELL].astype(str)
    text["claim"] = [f"({key}) {says}" for key, says in zip(numbers["claim"], numbers["says"], strict=True)]
    text["verdict"] = numbers["verdict"]
    text["test"] = numbers["test"]
    text["value"] = [bracketed(*row) for row in numbers[["value", "low", "high"]].itertuples(index=False)]
    text["over seeds"] = [ranged(*row) for row in numbers[["seed_low", "seed_high"]].itertuples(index=False)]
    text["Holm p"] = [p_text(value) for value in numbers["p_holm"]]
    text["detectable"] = [plain(value, 2) for value in numbers["detectable"]]
    text["published"] = [value or DASH for value in numbers["published"]]
    text["why"] = numbers["reason"]
    return Table("claims", "The paper's claims and what was found", numbers, text, _caption(settings, planned))


def _caption(settings: TablesStage, planned: dict[str, float]) -> str:
    level = wording.level(settings)
    found = ", ".join(f"{name} {100 * gain:.1f}" for name, gain in planned.items() if not math.isnan(gain))
    shows = f"if every seed changed one answer in ten: {found}" if found else "so few seeds or questions support none"
    return (
        "Look at the verdict: a rule that was fixed beforehand gives it (docs/claims.md). Value: mean over "
        f"{wording.counted(len(settings.prompt_seeds), 'seed')}, its {level} interval over questions, conditional "
        "on these seeds; over seeds: Student's t interval on the seeds' values, for another seed. Supported: both "
        "intervals are on the claimed side, with p corrected by Holm over the cells of this table. Too little data: "
        "fewer than 30 questions of the kind a claim is about, or it holds over questions but not yet over seeds. "
        "Detectable: the smallest gain, in points, that would be supported with 80 % probability, over questions "
        f"and over seeds; {shows}. Not judged: a plan was not run, nothing can be estimated, or DPC or ACT is "
        "prompt tuning by construction; the last column says which. A dash: no number; for detectable also one seed, "
        f"or no answer changed. {wording.method(settings)} {wording.run(settings)}"
    )
