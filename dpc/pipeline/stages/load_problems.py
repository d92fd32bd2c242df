"""Read or generate questions, cut the splits, render what the model reads, and store the gold answers separately."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pandas as pd

from dpc.config.slices import ProblemsStage
from dpc.config.stages import stage
from dpc.errors import DpcError
from dpc.pipeline.progress import log
from dpc.storage import tables
from dpc.storage.hashing import content_hash
from dpc.storage.hub import origin
from dpc.storage.provenance import provenance
from dpc.tasks import get_task
from dpc.tasks.base import GeneratedTask
from dpc.tasks.dataset import Cut, read_splits
from dpc.tasks.formats import fill
from dpc.tasks.splits import NAMES, Question, cut_splits

STAGE = stage(version=4)


def run(
    settings: ProblemsStage,
    *,
    train: list[Path],
    test: list[Path],
    questions: Path,
    gold: list[Path],
) -> None:
    """Write the `questions` table of all splits, and one `gold` table per split.

    `train` and `test` are files of raw rows; both are empty where `settings.generate` is a seed. `gold`
    holds one path per split, named by its stem: `tuning.parquet`, `validation.parquet`, and so on.

    Raises DpcError before anything is written if a row cannot be read, a split cannot be cut, or a gold
    answer is not found right in its own rationale.
    """
    paths = _gold_paths(gold)
    splits, notes = _splits(settings, train, test)
    if settings.generate is None and not train:
        notes.append("all splits are cut from the test rows, by hash")
    for note in notes:
        log.info("%s", note)
    counts = {name: len(splits[name]) for name in NAMES}
    sources = {str(file): origin(file) for file in [*train, *test]}
    rows = {name: _gold_rows(splits[name]) for name in NAMES}
    asked = _question_rows(splits, settings.template)
    data = content_hash(frame.to_csv(index=False).encode() for frame in (asked, *rows.values()))
    footer = provenance("load_problems", settings, data=data, splits=counts, notes=notes, sources=sources)
    for name in NAMES:
        tables.write(paths[name], "gold", rows[name], footer)
    tables.write(questions, "questions", asked, footer)


def _gold_paths(gold: list[Path]) -> dict[str, Path]:
    paths = {path.stem: path for path in gold}
    if sorted(paths) != sorted(NAMES) or len(gold) != len(NAMES):
        found = ", ".join(str(path) for path in gold) or "none"
        raise DpcError(f"gold tables: found {found}; expected one path each named {', '.join(NAMES)}.parquet")
    return paths


def _splits(settings: ProblemsStage, train: list[Path], test: list[Path]) -> tuple[Cut, list[str]]:
    if settings.generate is not None:
        return _generated(settings, settings.generate)
    if not test:
        raise DpcError(
            f"dataset {settings.dataset}: found no test file; expected rows of task {settings.task}:"
            f" write `datasets.{settings.dataset}.files.test`"
        )
    return read_splits(settings.task, train, test, settings.splits, settings.dataset, settings.columns)


def _generated(settings: ProblemsStage, seed: int) -> tuple[Cut, list[str]]:
    sizes = settings.splits
    if sizes.test is None:
        raise DpcError(
            f"dataset {settings.dataset}: found no number of questions to generate; expected one:"
            f" write `datasets.{settings.dataset}.splits.test`"
        )
    task = cast(GeneratedTask, get_task(settings.task))
    pool = task.generate_problems(seed, sum(getattr(sizes, name) for name in NAMES))
    return cut_splits([], pool, sizes, settings.dataset)


def _question_rows(splits: dict[str, list[Question]], template: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "problem_id": question.problem_id,
            "split": name,
            "question": question.problem.question,
            "prompt_text": fill(template, question.problem.question),
            "source": question.source,
        }
        for name, split in splits.items()
        for question in split
    )


def _gold_rows(split: list[Question]) -> pd.DataFrame:
    rows = [
        {
            "problem_id": question.problem_id,
            "answer": question.problem.answer,
            "rationale": question.problem.rationale,
            "steps": question.problem.steps,
        }
        for question in split
    ]
    return pd.DataFrame(rows, columns=list(tables.SCHEMAS["gold"]))  # a split of ACT's may be empty
