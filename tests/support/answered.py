"""New answers beside a study's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from dpc.pipeline.cli import main
from dpc.plans.declaration import PLANS, of
from dpc.storage import tables

ALL_PLANS = [name for name in of("test") if not PLANS[name].is_drawn and PLANS[name].answers != "options"]
"""Every plan that decides on a question without a look at the others."""


def ask(cell: Path, folder: Path, count: int) -> Path:
    """Write the first test questions of a cell's study, without gold, as a user would; return the file."""
    asked = asked_of_test(cell).head(count)
    file = folder / "mine.jsonl"
    task = tables.provenance(next(cell.glob("generations/*.parquet")))["settings"]["task"]
    file.write_text("".join(json.dumps(row_of(task, text)) + "\n" for text in asked["question"]))
    return file


def row_of(task: str, text: str) -> dict[str, Any]:
    """Return a row of a task that asks `text`, and holds no gold."""
    if task == "aqua":
        question, *options = text.rsplit("\n", 5)
        return {"question": question, "options": options}
    return {"problem" if task == "math" else "question": text}


def asked_of_test(cell: Path) -> pd.DataFrame:
    asked = tables.read(cell.parents[3] / "problems" / cell.parents[1].name / "questions.parquet", "questions")
    return asked[asked["split"] == "test"].reset_index(drop=True)


def answer(cell: Path, questions: Path, out: Path, *plans: str, more: tuple[str, ...] = ()) -> int:
    """Run the command; return its status."""
    flags = [f"--cell={cell}", f"--questions={questions}", f"--out={out}", "--device=cpu", *more]
    return main(["answer", *flags, *(["--plans", *plans] if plans else [])])


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def differences(cell: Path, out: Path) -> list[str]:
    """Return what a file of answers says otherwise than the study's tables: answers, decisions, edits and shares."""
    outcomes = tables.read(cell / "evaluation/outcomes.parquet", "outcomes").set_index(["problem_id", "plan"])
    planned = tables.read(cell / "plans/test.parquet", "plans").set_index(["problem_id", "plan"])
    found = []
    for line in lines(out):
        key = (line["problem_id"], line["plan"])
        theirs = {
            "rationale": outcomes.loc[key, "text"],
            "answer": outcomes.loc[key, "extracted"],
            "stop_reason": outcomes.loc[key, "stop_reason"],
            "fired": bool(outcomes.loc[key, "fired"]),
            "masked": list(planned.loc[key, "masked"]),
        }
        theirs["answer"] = theirs["answer"] if isinstance(theirs["answer"], str) else None
        found += [
            f"{key}: {name} {line[name]!r}, study {value!r}" for name, value in theirs.items() if line[name] != value
        ]
    return found
