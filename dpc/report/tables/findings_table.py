"""Every number of the two analyses."""

from __future__ import annotations

import itertools
import math

import pandas as pd

from dpc.config.slices import TablesStage
from dpc.report import wording
from dpc.report.cells import Tables
from dpc.report.exhibits import table
from dpc.report.published import (
    FLOW_RIGHT,
    FLOW_WRONG,
)
from dpc.report.table_text import (
    CELL,
    Table,
)
from dpc.report.wording import DASH
from dpc.tasks.base import AT_CHANCE


@table(
    category="3 Prompt tuning analysed",
    caption="Every number of the two analyses, per recipe and seed, with intervals.",
    tables=("findings",),
)
def findings(tables: Tables, settings: TablesStage) -> Table:
    """Return the numbers of the two analyses, per cell and seed."""
    return build(tables.labelled("findings"), settings)


def build(findings: pd.DataFrame, settings: TablesStage) -> Table:
    """Return the numbers of the two analyses per cell: a column per seed; the CSV has a row per seed."""
    columns = [*CELL, "seed", "name", "value", "low", "high", "p", "n", "at_chance", "note"]
    numbers = findings[columns].reset_index(drop=True)
    order = [*wording.FINDINGS, *dict.fromkeys(numbers["name"])]
    present = [name for name in dict.fromkeys(order) if (numbers["name"] == name).any()]
    rows = []
    for cell in itertools.product(settings.models, settings.datasets, settings.recipes):
        here = numbers[(numbers[CELL] == list(cell)).all(axis=1)]
        rows += [_finding_row(here, cell, name, settings) for name in present]
    text = pd.DataFrame(rows, columns=[*CELL, "finding", *(f"seed {seed}" for seed in settings.prompt_seeds)])
    caption = (
        f"Numbers of the two analyses, with {wording.level(settings)} intervals in brackets; n: test instances. The "
        "limits of accumulation and flow change come from right calibration cases; too few of them: not estimable. "
        "AUC above 0.5: larger when the answer is wrong. In the paper's figure the flow ratio, wrong to right, is "
        f"about {FLOW_WRONG / FLOW_RIGHT:.2f}. {wording.position_0(settings)}{wording.saliency(settings)} "
        f"{wording.run(settings)}"
    )
    return Table("findings", "The two analyses", numbers, text, caption)


def _finding_row(here: pd.DataFrame, cell: tuple[str, str, str], name: str, settings: TablesStage) -> list[str]:
    told = [_finding_text(here[here["seed"] == seed], name) for seed in settings.prompt_seeds]
    return [*cell, wording.FINDINGS.get(name, name), *told]


def _finding_text(rows: pd.DataFrame, name: str) -> str:
    if not (rows["name"] == name).any():
        return DASH
    found = wording.finding(rows, name)
    if name == "fisher":
        return wording.p_value(wording.finding(rows, "fisher").p)
    text = wording.interval(found.value, found.low, found.high)
    if found.known and not math.isnan(found.p):
        text += f", {wording.p_value(found.p)}"
    count = "" if found.n is None else f"n = {found.n}"
    told = [found.note if name.startswith("auc_") else count, AT_CHANCE if found.at_chance else ""]
    inside = "; ".join(filter(None, told))
    return f"{text} ({inside})" if inside else text
