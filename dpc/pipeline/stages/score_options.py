"""Score labelled options by the likelihood of their words, with the soft prompt and without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import ScoreOptionsStage
from dpc.config.stages import stage
from dpc.pipeline.progress import progress
from dpc.prompts.edits import LIKELIHOOD, LIKELIHOOD_UNPROMPTED
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.tasks import get_task
from dpc.tasks.base import OptionsTask

if TYPE_CHECKING:
    from torch import Tensor

    from dpc.lm.models import LanguageModel

STAGE = stage(version=1, rate="saliency", saves=False)


def run(
    settings: ScoreOptionsStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    scores: Path,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `options`, every label's likelihood for each test question, and the likeliest as `generations`.

    A label stands where an answer would begin: directly behind the question in its template.
    """
    from dpc.lm import models
    from dpc.prompts import soft_prompt

    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    asked = tables.read(questions, "questions")
    rows = [row._asdict() for row in tables.rows(asked[asked["split"] == "test"])]
    rows = sorted(({**row, "question_ids": lm.encode(row["prompt_text"])} for row in rows), key=_longest_first)
    prompts = {LIKELIHOOD: soft_prompt.load(prompt, lm).rows, LIKELIHOOD_UNPROMPTED: None}
    found = list[dict[str, Any]]()
    with progress(len(prompts) * len(rows), "score options", "question") as bar:
        for edit_id, of_questions in prompts.items():
            for batch in _scored(lm, settings, of_questions, rows, execution.batch_size.saliency):
                found += [{**row, "edit_id": edit_id} for row in batch]
                bar.add(len(batch))
    made = pd.DataFrame(found)
    about = provenance("score_options", settings, model=model, device=str(lm.device))
    tables.write(scores, "options", made, about)
    tables.write(out, "generations", _answers(lm, made), about)


def _longest_first(row: dict[str, Any]) -> int:
    return -len(row["question_ids"])


def _scored(
    lm: LanguageModel,
    settings: ScoreOptionsStage,
    prompts: Callable[[Sequence[list[int]]], Tensor] | None,
    rows: list[dict[str, Any]],
    size: int,
) -> Iterator[list[dict[str, Any]]]:
    """Yield rows of table `options`, batch by batch, with the seconds that a row took."""
    from dpc.lm.batches import in_batches
    from dpc.lm.layout import layout_of
    from dpc.lm.option_scores import log_likelihoods

    labels = list(cast(OptionsTask, get_task(settings.task)).labels)
    ids = [lm.encode(label) for label in labels]
    about = {"labels": labels, "label_tokens": list(map(len, ids))}
    order = layout_of(lm, settings.layout)

    def score(batch: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        started = time.perf_counter()
        found = log_likelihoods(lm, order, prompts, [row["question_ids"] for row in batch], ids)
        seconds = (time.perf_counter() - started) / len(batch)
        likeliest = [labels[scores.index(max(scores))] for scores in found]
        return [
            {**row, **about, "log_likelihood": scores, "likeliest": label, "seconds": seconds}
            for row, scores, label in zip(batch, found, likeliest, strict=True)
        ]

    for _, scored in in_batches(rows, size, score):
        yield scored


def _answers(lm: LanguageModel, made: pd.DataFrame) -> pd.DataFrame:
    """Return the likeliest labels as rows of table `generations`."""
    label = made["likeliest"]
    ids: list[Any] = [lm.encode(text) for text in label]
    return made[["problem_id", "split", "edit_id", "seconds"]].assign(
        token_ids=pd.Series(ids, index=made.index, dtype=object),
        text=label,
        stop_reason="option",
        extracted=label,
        extracted_lenient=label,
        batch=0,
    )
