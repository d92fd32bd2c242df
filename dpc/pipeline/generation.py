"""What the stages that generate share: requests in, rows of table `generations` out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.slices import GenerateStage
from dpc.pipeline.progress import progress
from dpc.tasks import get_task

if TYPE_CHECKING:
    from dpc.lm.decoding import Calibrated, Request
    from dpc.lm.models import LanguageModel


@dataclass(frozen=True)
class Job:
    """One row to generate."""

    problem_id: str
    split: str
    edit_id: str
    request: Request


def generate_rows(
    lm: LanguageModel,
    settings: GenerateStage,
    jobs: list[Job],
    execution: Execution,
    what: str,
    act: Calibrated | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of table `generations` for `jobs`, batch by batch; `Store` numbers the batches."""
    from dpc.lm.decoding import Limits, generate
    from dpc.lm.layout import layout_of

    limits = Limits(settings.max_new_tokens, tuple(settings.stop))
    layout, size = layout_of(lm, settings.layout), execution.batch_size.generate
    with progress(len(jobs), what, "question") as bar:
        for indices, found in generate(lm, layout, [job.request for job in jobs], limits, size, act):
            rows = [_row(settings, jobs[i], made) for i, made in zip(indices, found, strict=True)]
            bar.add(len(rows))
            yield pd.DataFrame(rows)


def _row(settings: GenerateStage, job: Job, made: Any) -> dict[str, Any]:
    strict, lenient = get_task(settings.task).extract(made.text)
    return {
        "problem_id": job.problem_id,
        "split": job.split,
        "edit_id": job.edit_id,
        "token_ids": made.token_ids,
        "text": made.text,
        "stop_reason": made.stop_reason,
        "extracted": strict,
        "extracted_lenient": lenient,
        "seconds": made.seconds,
    }
