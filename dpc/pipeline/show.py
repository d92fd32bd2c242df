"""Show one question of a finished study: gold, rationales by plan in both readings, and what was read off saliency."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.errors import DpcError
from dpc.plans.declaration import in_order
from dpc.plans.declaration import label as plan_label
from dpc.prompts.edits import NEAREST, READY
from dpc.report.table_text import plain
from dpc.storage import tables
from dpc.storage.tables import number

_MOST_FOUND = 8
"""Questions that are listed where several fit."""
_SHOWN_FIRST = ("test", "calibration")
"""Splits that are measured; of the others there is only gold to show."""
_WIDTH = 110


def run(question: str, *, study: Path | None = None, cell: str = "") -> None:
    """Print what the tables of `study` say of a question: the beginning of its problem_id, or a part of its text.

    `study` is the folder of results, the only one under `results` where it is left out. `cell` is a part of
    MODEL/DATASET/RECIPE/seedN: cells without it are left out. Raises DpcError where no question fits, or several do.
    """
    folder = study or _only_study()
    dataset, row = _find(folder, question)
    shown = [one for one in _cells(folder, dataset) if cell in _name(one, folder)]
    if not shown:
        raise DpcError(f"{folder}: found no evaluated cell of {dataset} with {cell!r} in MODEL/DATASET/RECIPE/seedN")
    lines = [*_question(folder, dataset, row)]
    for one in shown:
        lines += ["", _name(one, folder), *_readings(one, row["problem_id"]), *_rationales(one, row["problem_id"])]
    print("\n".join(lines))


def _only_study() -> Path:
    found = sorted(path.parent for path in Path("results").glob("*/problems"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(map(str, found)) or "none"
    raise DpcError(f"found {names} under results; expected one study: write --study FOLDER, as in study.results")


def _find(folder: Path, wanted: str) -> tuple[str, dict[Any, Any]]:
    """Return the dataset of the one question that fits, and its row of table `questions`."""
    files = sorted(folder.glob("problems/*/questions.parquet"))
    if not files:
        raise DpcError(f"{folder}: found no problems/DATASET/questions.parquet; expected the results folder of a study")
    fitting = []
    for file in files:
        rows = tables.read(file, "questions")
        fits = rows["problem_id"].str.startswith(wanted) | rows["question"].str.contains(
            wanted, case=False, regex=False
        )
        fitting += [(file.parent.name, row) for row in rows[fits].to_dict("records")]
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        last = rows.iloc[-1]["problem_id"]
        raise DpcError(
            f"{folder}: found no question with {wanted!r} in its problem_id or text; write one such as {last}; all are "
            f"in {', '.join(map(str, files))}"
        )
    fitting.sort(key=lambda found: [found[1]["split"] != split for split in _SHOWN_FIRST])
    listed = "; ".join(f"{row['problem_id']} ({row['question'][:50]} …)" for _, row in fitting[:_MOST_FOUND])
    raise DpcError(f"found {len(fitting)} questions with {wanted!r}; write a whole problem_id: {listed}")


def _cells(folder: Path, dataset: str) -> list[Path]:
    """Return the folders of the evaluated cells of a dataset, model by model, recipe by recipe, seed by seed."""
    return sorted(path.parents[1] for path in folder.glob(f"*/{dataset}/*/seed*/evaluation/outcomes.parquet"))


def _name(cell: Path, folder: Path) -> str:
    return cell.relative_to(folder).as_posix()


def _question(folder: Path, dataset: str, row: dict[Any, Any]) -> Iterator[str]:
    gold = tables.read(folder / "problems" / dataset / "gold" / f"{row['split']}.parquet", "gold")
    own = _only(gold, row["problem_id"])
    assert own is not None, "load_problems writes a question and its gold together"
    yield f"{row['problem_id']}, split {row['split']}"
    yield from _text(f"Question: {row['question']}", "")
    yield f"Gold answer: {own['answer']}"
    yield from _text(f"Gold rationale: {own['rationale']}", "")


def _only(rows: pd.DataFrame, problem: str) -> dict[Any, Any] | None:
    own = rows[rows["problem_id"] == problem].to_dict("records")
    return own[0] if own else None


def _text(text: str, indent: str) -> Iterator[str]:
    for line in text.strip().split("\n"):
        yield from textwrap.wrap(line, _WIDTH, initial_indent=indent, subsequent_indent=indent) or [""]


def _readings(cell: Path, problem: str) -> Iterator[str]:
    """Yield share against R, the located vector and the flows of prompt tuning's rationale."""
    share = number(tables.read(cell / "thresholds.parquet", "thresholds")["share"].iloc[0])
    own = _only(tables.read(cell / "study/evidence.parquet", "evidence"), problem)
    if own is None:
        yield "  no readings: its split is not measured"
        return
    affected = plain(own["affected_share"], 3)
    if share is None:
        yield f"  share of affected tokens {affected}; R: none, as none has a gain on calibration: DPC never fires"
    else:
        says = "DPC fires" if own["fired"] else "DPC does not fire"
        reason = "" if own["eligible"] else " (no answer, or too few tokens: never eligible)"
        yield f"  share of affected tokens {affected}, R = {share:g}: {says}{reason}"
    yield (
        f"  located vector {own['located']} (from 0): {plain(100 * _real(own['accumulation']), 1)} % of the prompt's "
        f"saliency, z {plain(own['accumulation_z'], 2)}"
    )
    yield (
        f"  flow from the prompt to the latter half {_scientific(own['flow_latter'])}, S_IFP {plain(own['s_ifp'], 3)}, "
        f"mean NLL {plain(own['nll'], 3)}{_after(cell, problem)}"
    )


def _real(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _scientific(value: Any) -> str:
    return "–" if pd.isna(value) else f"{float(value):.2e}"


def _after(cell: Path, problem: str) -> str:
    """Return the flow under DPC's edit, where the study measured it."""
    file = cell / "mechanism/mechanism.parquet"
    if not file.is_file():
        return ""
    rows = tables.read(file, "mechanism")
    own = _only(rows[(rows["plan"] == "dpc") & rows["fired"].astype(bool)], problem)
    if own is None:
        return ""
    return f"; under DPC's edit {_scientific(own['flow_latter_after'])}, S_IFP {plain(own['s_ifp_after'], 3)}"


def _rationales(cell: Path, problem: str) -> Iterator[str]:
    """Yield every different rationale once, with the plans that take it."""
    outcomes = tables.read(cell / "evaluation/outcomes.parquet", "outcomes")
    rows = outcomes[(outcomes["problem_id"] == problem) & (outcomes["candidate"] < 0)].set_index("plan")
    if rows.empty:
        yield "  no plan was evaluated on it: plans are compared on test questions"
        return
    edits = _edits(cell, problem)
    rows = rows.loc[in_order(rows.index)]
    for text, same in rows.groupby("text", sort=False):
        first = same.iloc[0]
        names = [f"{plan_label(str(name))}{edits.get(str(name), '')}" for name in same.index]
        yield from _text(f"{'; '.join(names)}", "  ")
        yield f"    {_verdict(first)}"
        yield from _text(str(text) or "(empty)", "    | ")


def _edits(cell: Path, problem: str) -> dict[str, str]:
    """Return, of each plan that fires on the question, what it does to the prompt."""
    files = [file for part in ("test", "oracles") if (file := cell / f"plans/{part}.parquet").is_file()]
    rows = tables.read(files, "plans")
    own = rows[(rows["problem_id"] == problem) & rows["fired"] & (rows["candidate"] < 0)]
    return {row.plan: _edit(row) for row in tables.rows(own) if row.edit_id not in READY}


def _edit(row: Any) -> str:
    how = f"× {row.mask_value:g}" if row.mask == "scale" else row.mask.replace("_", " ")
    if row.mask == NEAREST:
        return f" (every vector: {how})"
    masked = f"vector {', '.join(map(str, row.masked))} {how}, " if len(row.masked) else ""
    return f" ({masked}Γ = {row.gamma:g} %)"


def _verdict(row: pd.Series[Any]) -> str:
    found = row["extracted"] if not pd.isna(row["extracted"]) else row["extracted_lenient"]
    answer = "no answer found" if pd.isna(found) else f"answer {found}"
    strict, lenient = ("right" if row[name] else "wrong" for name in ("correct", "correct_lenient"))
    cut = ", cut short at max_new_tokens" * (row["stop_reason"] == "length")
    return f"{answer}: {strict} read strictly, {lenient} read leniently{cut}"
