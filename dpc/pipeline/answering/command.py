"""Answer new questions, without gold, under plans of a finished cell: one line of JSON per question and plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from dpc.analysis.studies.outcomes import taken
from dpc.config.execution import Execution
from dpc.errors import DpcError
from dpc.pipeline.answering.cell import Cell
from dpc.pipeline.answering.deciding import Decided, asks_trigger, check_plans, decide, trigger_part
from dpc.pipeline.answering.work import Work
from dpc.pipeline.progress import log
from dpc.plans.declaration import PLANS
from dpc.storage import tables
from dpc.storage.claim import Claim
from dpc.storage.files import atomic
from dpc.storage.interrupt import interruptible
from dpc.storage.tables import number
from dpc.tasks import get_task
from dpc.tasks.asked import also, read_questions
from dpc.tasks.base import problem_id


def run(
    *,
    cell: Path,
    questions: Path,
    out: Path,
    plans: Sequence[str] = ("prompt_tuning", "dpc"),
    model: Path | None = None,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Write a line of JSON per question of `questions` and plan, in that order.

    `device` is cpu, cuda, or auto: a card where there is one. In float32 texts are the study's, row by row; in bfloat16
    a near-tie may fall otherwise, as batches differ.

    What is finished lies in a folder beside `out` until `out` is written: a killed run goes on from there. Raises
    DpcError, before anything is generated, for rows that are no questions or too long, and for plans that need gold.
    """
    if out.suffix != ".jsonl":
        raise DpcError(f"{out}: found suffix {out.suffix!r}; expected .jsonl, the one kind of file that is written")
    plans, opened = list(dict.fromkeys(plans)), Cell.of(cell, model)
    check_plans(plans, opened)
    asked = _asked(opened, questions)
    work = Work(out.with_name(f"{out.name}.work"), opened, _execution(device, threads))
    claim = Claim(out.with_name(f"{out.name}.claim"), str(out))
    try:
        work.begin(asked.drop_duplicates("problem_id")[list(tables.SCHEMAS["questions"])], plans)
        answers = _answers(work, asked, plans)
        _write(out, answers)
        work.remove()
    finally:
        claim.release()
    log.info("wrote %d answers to %s", len(answers), out)


def _execution(device: str, threads: int) -> Execution:
    """Return how the work is done. Raises DpcError for another device than `run` names."""
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        log.info("device %s", device)
    try:
        return Execution.model_validate({"device": device, "threads": threads})
    except ValidationError:
        told = f"--device {device} --threads {threads}"
        raise DpcError(f"found {told}; expected auto, cuda or cpu, and a number from 1") from None


def _asked(cell: Cell, file: Path) -> pd.DataFrame:
    """Return the rows of a file as table `questions`, one row for each of its rows."""
    problems = cell.problems
    found = read_questions(get_task(problems.task), file, problems.columns)
    rows = pd.DataFrame(found, columns=["source", "question"])
    ids = [problem_id(problems.dataset, question) for question in rows["question"]]
    return rows.assign(problem_id=ids, split="test", prompt_text=cell.prompt_texts(rows["question"]))


def _answers(work: Work, asked: pd.DataFrame, plans: list[str]) -> list[dict[str, Any]]:
    """Return the lines to write, question by question."""
    from dpc.lm.models import loaded_once

    with loaded_once(), interruptible() as work.asked_to_stop:
        _check_lengths(work, asked)
        decided, made = _made(work, asked.drop_duplicates("problem_id"), plans)
    sized = made.assign(tokens=made["token_ids"].map(len))
    rows = taken(decided.plans, sized).assign(masked=decided.plans["masked"].to_numpy())
    rows = rows.merge(decided.readings[["problem_id", "affected_share"]], on="problem_id", validate="many_to_one")
    share = number(tables.read(work.cell.thresholds, "thresholds").iloc[0]["share"])
    by_key = {(row.problem_id, row.plan): row for row in tables.rows(rows)}
    return [
        {"source": question.source, "question": question.question, **_line(by_key[question.problem_id, plan], share)}
        for question in tables.rows(asked)
        for plan in plans
    ]


def _made(work: Work, asked: pd.DataFrame, plans: list[str]) -> tuple[Decided, pd.DataFrame]:
    """Return what the plans decided, and every answer that they take."""
    cell, files = work.cell, list[Path]()
    if "no_prompt" in plans:
        files.append(work.generations(None))
    if set(plans) == {"no_prompt"}:
        return decide(cell, plans, asked, asked, lambda part, ids: asked), tables.read(files, "generations")
    base = work.generations(cell.prompt, trigger_part(cell.flow) if asks_trigger(plans) else None)
    files.append(base)
    if "act" in plans and cell.act_heads:
        files.append(work.act(cell.act_heads, base))
    first = tables.read(base, "generations")
    decided = decide(cell, plans, asked, first, lambda part, ids: work.saliency(part, base, ids))
    for name, fired in decided.plans.groupby("plan", sort=False)["fired"]:
        log.info("%s fires on %d of %d questions", name, fired.sum(), len(fired))
    again = tables.read(work.regenerations(decided.plans, [base]), "regenerations")
    return decided, pd.concat([tables.read(files, "generations"), again], ignore_index=True)


def _check_lengths(work: Work, asked: pd.DataFrame) -> None:
    """Raise DpcError that names the rows whose text the model cannot read, or that leave no room for an answer."""
    from dpc.lm import models
    from dpc.lm.layout import check_length
    from dpc.prompts import soft_prompt

    told = work.cell.generation
    lm = models.load(work.cell.model, told.dtype, work.execution, told.attention, told.bos)
    vectors, bad = soft_prompt.load(work.cell.prompt, lm).vectors, list[tuple[str, DpcError]]()
    for row in tables.rows(asked):
        try:
            check_length(lm, vectors, len(lm.encode(row.prompt_text)), told.max_new_tokens)
        except DpcError as error:
            bad.append((row.source, error))
    if bad:
        raise DpcError(f"{bad[0][0]}: {bad[0][1]}{also([source for source, _ in bad])}")


def _line(row: Any, share: float | None) -> dict[str, Any]:
    """Return what is written of one answer. Nothing in it was compared with gold."""
    looked = "share" in PLANS[row.plan].needs  # others may measure it, and decide by something else
    return {
        "plan": row.plan,
        "answer": row.extracted if isinstance(row.extracted, str) else None,
        "answer_lenient": row.extracted_lenient if isinstance(row.extracted_lenient, str) else None,
        "rationale": row.text,
        "fired": bool(row.fired),
        "affected_share": number(row.affected_share) if looked else None,
        "share": share if looked else None,
        "masked": [int(vector) for vector in row.masked],
        "stop_reason": row.stop_reason,
        "tokens": int(row.tokens),
        "problem_id": row.problem_id,
    }


def _write(out: Path, lines: list[dict[str, Any]]) -> None:
    with atomic(out) as temporary:
        temporary.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
