"""What the stages that generate share: requests in, rows of table `generations` out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.kinds import Layers
from dpc.config.layers import layer_range
from dpc.config.slices import GenerateStage
from dpc.pipeline.progress import Progress, log, progress
from dpc.storage.interrupt import Abandoned
from dpc.storage.store import Begun, Store
from dpc.tasks import get_task

if TYPE_CHECKING:
    from dpc.lm.decoding import Generated, Request
    from dpc.lm.engines import Answer
    from dpc.lm.models import LanguageModel

LOOK_EVERY_SECONDS = 2.0


@dataclass(frozen=True)
class Job:
    """One row to generate."""

    problem_id: str
    split: str
    edit_id: str
    request: Request


@dataclass(frozen=True)
class Traced:
    """Who wants the traces of decoding."""

    layers: Layers
    """Those that are measured; their first is where traces begin."""
    take: Callable[[LanguageModel, Sequence[Job], Sequence[Generated]], None]
    """Called behind each batch, when its rows are with who keeps them: a stop meanwhile loses none of them."""

    def first(self, lm: LanguageModel) -> int:
        """Return the layer where traces begin."""
        return layer_range(self.layers, lm.model.config.num_hidden_layers).start


def generate_rows(
    lm: LanguageModel,
    settings: GenerateStage,
    jobs: list[Job],
    execution: Execution,
    what: str,
    kept: Store | None = None,
    answer: Answer | None = None,
    traced: Traced | None = None,
) -> Iterator[pd.DataFrame]:
    """Yield the rows of table `generations` for `jobs`, batch by batch; `Store` numbers the batches.

    `kept` gets what an unfinished batch has said so far, and gives it back. Raises Abandoned where a signal that `kept`
    listens to asks to stop. `answer` does the work; it is `dpc.lm.decoding.generate` where none is given, and where
    traces are wanted.
    """
    from dpc.lm.decoding import Limits, generate
    from dpc.lm.drafts import Drafting, speed_of
    from dpc.lm.layout import layout_of

    limits = Limits(settings.max_new_tokens, tuple(settings.stop))
    layout, size, drafting = layout_of(lm, settings.layout), execution.batch_size.generate, Drafting(speed_of(lm))
    begun = kept.begun() if kept else {}
    requests = [_begun(job, begun) for job in jobs]
    with progress(len(jobs), what, "question") as bar:
        watch = _Watch(jobs, kept, bar, execution.save_every_seconds)
        work = partial(generate, traced=traced.first(lm)) if traced else answer or generate
        for indices, found in work(lm, layout, requests, limits, size, drafting=drafting, beat=watch.beat):
            rows = [_row(settings, jobs[i], made) for i, made in zip(indices, found, strict=True)]
            watch.finish(found)
            yield pd.DataFrame(rows)
            if traced:
                traced.take(lm, [jobs[i] for i in indices], found)
    log.info("%s: %s", what, drafting.summary())


def _begun(job: Job, begun: Begun) -> Request:
    """Return the request of `job`; what an earlier run has said is where its draft begins."""
    said, draft = begun.get((job.problem_id, job.edit_id), []), list(job.request.draft)
    if not said:
        return job.request
    rest = draft[len(said) :] if draft[: len(said)] == said else []
    return replace(job.request, draft=[*said, *rest], sure=len(said))


class _Watch:
    """Looks up between passes: lines of progress, what has been said so far, stops."""

    def __init__(self, jobs: list[Job], kept: Store | None, bar: Progress, save_every_seconds: float):
        self.jobs, self.kept, self.bar = jobs, kept, bar
        self.every = max(save_every_seconds, LOOK_EVERY_SECONDS)
        self.started = self.looked = self.saved = time.perf_counter()
        self.tokens = 0

    def beat(self, indices: Sequence[int], said: Sequence[list[int]], running: int) -> None:
        """Take note of a batch at work; raises Abandoned where a signal asked to stop, after what was said is kept."""
        now = time.perf_counter()
        if self.kept:
            self._keep(self.kept, indices, said, now)
        if now - self.looked >= LOOK_EVERY_SECONDS:
            self.looked = now
            tokens = self.tokens + sum(map(len, said))
            self.bar.show(len(indices) - running, tokens_per_s=tokens / (now - self.started))

    def _keep(self, kept: Store, indices: Sequence[int], said: Sequence[list[int]], now: float) -> None:
        is_asked = bool(kept.asked_to_stop())
        if is_asked or now - self.saved >= self.every:
            keys = [(self.jobs[i].problem_id, self.jobs[i].edit_id) for i in indices]
            kept.keep_begun({key: tokens for key, tokens in zip(keys, said, strict=True) if tokens})
            self.saved = now
        if is_asked:
            raise Abandoned

    def finish(self, found: Sequence[Generated]) -> None:
        """Count a batch."""
        self.tokens += sum(len(made.token_ids) for made in found)
        self.saved, seconds = time.perf_counter(), time.perf_counter() - self.started
        self.bar.add(len(found), tokens_per_s=self.tokens / max(seconds, 1e-9))


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
