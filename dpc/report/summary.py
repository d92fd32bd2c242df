"""What a study found, on one screen: the last words of a run, and the first of its report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.analysis.stats import verdicts
from dpc.analysis.studies.outcomes import BASELINE, WITHOUT_PROMPT
from dpc.config.slices import TablesStage
from dpc.plans.declaration import label as plan_label
from dpc.report import wording
from dpc.report.cells import LIGHT, Cell, Tables
from dpc.report.exhibits import TABLES
from dpc.report.figures.plan_bars import METHODS
from dpc.report.table_text import CELL, bracketed, percent
from dpc.report.tables.by_plan import IDLE
from dpc.report.tables.claims_table import judged
from dpc.report.wording import DASH

MOST_LINES = 25
_MOST_CELLS, _MOST_WARNINGS, _MOST_NAMED, _WIDTH = 9, 4, 3, 120
_MUCH_CUT = 0.1
"""Share of answers cut short that is worth a warning."""
MADE_FROM = tuple(dict.fromkeys([*TABLES["claims"].tables, *TABLES["main"].tables]))


def summary(tables: Tables, settings: TablesStage, folder: Path) -> str:
    """Return at most `MOST_LINES` lines on a study, whose results lie in `folder`."""
    shares, claims = tables.accuracies(), judged(tables, settings)
    shares = shares[shares["plan"].isin(METHODS)]
    lines = [
        _head(shares, settings),
        *_accuracies(shares, claims, settings),
        *_verdicts(claims, settings),
        *_never(shares, settings),
        _cut(shares),
        *_noise_floor(tables),
        *_warnings(tables, shares, settings),
        tables.origin(MADE_FROM),
        f"Tables: {folder}/tables. Figures: {folder}/figures. All on one page: snakemake --configfile FILE --report "
        f"{folder}/report.html",
        f"One question with its rationales and readings: python -m dpc show QUESTION --study {folder}",
    ]
    return "\n".join(_short(line) for line in lines) + "\n"


def _short(line: str, most: int = 2 * _WIDTH) -> str:
    return line if len(line) <= most else f"{line[: most - 2]} …"


def _head(shares: pd.DataFrame, settings: TablesStage) -> str:
    cells = len(settings.models) * len(settings.datasets) * len(settings.recipes)
    asked = wording.count_range([int(count) for count in shares["questions"].dropna()])
    seeds = wording.counted(len(settings.prompt_seeds), "prompt seed")
    return f"Study {settings.study}: {wording.counted(cells, 'cell')}, {seeds}, {asked} test questions a cell."


def _accuracies(shares: pd.DataFrame, claims: pd.DataFrame, settings: TablesStage) -> Iterator[str]:
    """Yield the main table in short: strict / lenient accuracy of each method, and DPC's gain."""
    gains = _by_key(claims[claims["claim"] == "e"], CELL)
    shown = _by_key(shares, [*CELL, "plan"])
    cells = list(dict.fromkeys(shares[CELL].itertuples(index=False, name=None)))
    rows = [["accuracy (%), strict / lenient", *map(plan_label, METHODS), "DPC − prompt tuning (points)"]]
    for cell in cells[:_MOST_CELLS]:
        rows.append([" ".join(cell), *(_both(shown, (*cell, plan)) for plan in METHODS), _gain(gains, cell)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
    if len(cells) > _MOST_CELLS:
        yield f"… and {wording.counted(len(cells) - _MOST_CELLS, 'cell')} more: table main"


_Rows = dict[tuple[str, ...], dict[Any, Any]]


def _by_key(rows: pd.DataFrame, names: list[str]) -> _Rows:
    return {tuple(row[name] for name in names): row for row in rows.to_dict("records")}


def _both(shown: _Rows, key: tuple[str, ...]) -> str:
    row = shown.get(key)
    return f"{percent(row['accuracy'])} / {percent(row['lenient'])}" if row else DASH


def _gain(gains: _Rows, cell: Cell) -> str:
    row = gains[cell]
    if row["verdict"] == verdicts.NOT_JUDGED:
        return str(row["reason"])
    return bracketed(row["value"], row["low"], row["high"])


def _verdicts(claims: pd.DataFrame, settings: TablesStage) -> Iterator[str]:
    counts = claims["verdict"].value_counts()
    kinds = (verdicts.SUPPORTED, verdicts.NOT_SUPPORTED, verdicts.TOO_LITTLE, verdicts.NOT_JUDGED)
    yield f"Claims: {', '.join(f'{counts.get(kind, 0)} {kind}' for kind in kinds)}."
    for kind in (verdicts.SUPPORTED, verdicts.NOT_JUDGED):
        rows = claims[claims["verdict"] == kind]
        told = [
            f"{claim}{_where(map(tuple, own[CELL].to_numpy()), settings)}"
            for claim, own in rows.groupby("claim", sort=False)
        ]
        if told:
            yield f"  {kind}: {', '.join(told)}"


def _where(cells: Iterable[Cell], settings: TablesStage) -> str:
    """Return ` (toy gsm8k paper; …)`, with the parts that differ between cells alone; nothing in a study of one.

    All cells, and more than fit into a line with what else there is, are counted instead.
    """
    lists = (settings.models, settings.datasets, settings.recipes)
    cells, every = list(cells), math.prod(map(len, lists))
    if len(cells) > _MOST_NAMED or len(cells) == every > 1:
        return f" ({'all' if len(cells) == every else f'{len(cells)} of'} {every} cells)"
    names = [" ".join(part for part, of in zip(cell, lists, strict=True) if len(of) > 1) for cell in cells]
    return f" ({'; '.join(names)})" if any(names) else ""


def _never(shares: pd.DataFrame, settings: TablesStage) -> Iterator[str]:
    seeds, told = len(settings.prompt_seeds), []
    for plan, words in IDLE.items():
        rows = shares[(shares["plan"] == plan) & (shares["idle"] > 0)]
        counts = [
            f"under {idle} of {wording.counted(seeds, 'seed')}{_where(map(tuple, own[CELL].to_numpy()), settings)}"
            for idle, own in rows.groupby("idle", sort=True)
        ]
        told += [f"{plan_label(plan)}: {words} {', '.join(counts)}"] if counts else []
    if told:
        yield f"{'; '.join(told)}. Prompt tuning's answers stand there."


def _cut(shares: pd.DataFrame) -> str:
    again = (shares["plan"] == WITHOUT_PROMPT) & shares.duplicated(["model", "dataset", "plan"])  # in another recipe
    sums = shares[~again].groupby("plan")[["cut", "answers"]].sum()
    if not sums["cut"].sum():
        return f"Answers cut short at max_new_tokens: none of {sums['answers'].sum()}."
    told = [
        f"{plan_label(name)} {sums['cut'][name]} of {sums['answers'][name]}" for name in METHODS if name in sums.index
    ]
    return f"Answers cut short at max_new_tokens: {', '.join(told)}."


def _noise_floor(tables: Tables) -> Iterator[str]:
    rows = pd.concat(tables.by_cell("outcomes", LIGHT["outcomes"]), names=CELL).reset_index(level=CELL)
    again = rows[(rows["plan"] == "identity") & rows["fired"].astype(bool)]
    if len(again):
        keys = [*CELL, "seed", "problem_id"]
        both = again.merge(rows[rows["plan"] == BASELINE], on=keys, suffixes=("", "_before"), validate="one_to_one")
        changed = int((both["correct"] != both["correct_before"]).sum())
        yield f"Noise floor: answering again under the unchanged prompt changes {changed} of {len(both)} verdicts."


def _warnings(tables: Tables, shares: pd.DataFrame, settings: TablesStage) -> Iterator[str]:
    found = [
        *_of_seeds(settings),
        *_of_prompts(tables, shares, settings),
        *([told] if (told := tables.luck().strip()) else []),
        *_of_length(shares, settings),
    ]
    shown = found if len(found) <= _MOST_WARNINGS else found[: _MOST_WARNINGS - 1]
    yield from (f"Warning: {text}" for text in shown)
    if len(shown) < len(found):
        yield f"… and {wording.counted(len(found) - len(shown), 'warning')} more: tables main and claims"


def _of_seeds(settings: TablesStage) -> Iterator[str]:
    if len(settings.prompt_seeds) == 1:
        yield "one prompt seed says nothing about another: no claim can be supported."


def _of_prompts(tables: Tables, shares: pd.DataFrame, settings: TablesStage) -> Iterator[str]:
    made = tables.labelled("evaluation")
    same = made[made["unchanged"].astype(bool)]
    if len(same):
        cells = dict.fromkeys(same[CELL].itertuples(index=False, name=None))
        yield f"a prompt changes no answer under {wording.counted(len(same), 'seed')}{_where(cells, settings)}."
    lenient = shares.pivot(index=CELL, columns="plan", values="lenient").reindex(columns=["no_prompt", BASELINE])
    lower = lenient[lenient[BASELINE] < lenient["no_prompt"]]
    if len(lower):
        pairs = [f"{percent(row.no_prompt)} → {percent(row.prompt_tuning)}" for row in lower.itertuples()]
        told = f": {', '.join(pairs)}" if len(pairs) <= _MOST_NAMED else ""
        yield f"the prompt lowers accuracy, read leniently{told}{_where(lower.index, settings)}."


def _of_length(shares: pd.DataFrame, settings: TablesStage) -> Iterator[str]:
    own = shares[shares["cut"] > _MUCH_CUT * shares["answers"]]
    if len(own):
        cells = dict.fromkeys(own[CELL].itertuples(index=False, name=None))
        much = f"{100 * _MUCH_CUT:.0f} % of the answers of a method are cut short{_where(cells, settings)}"
        yield f"more than {much}: raise max_new_tokens."
