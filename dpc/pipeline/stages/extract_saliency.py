"""Measure attention saliency on the model's own rationales under the base prompt."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from dpc.config.execution import Execution
from dpc.config.kinds import AnyTask, Layers
from dpc.config.layers import layer_range
from dpc.config.slices import ExtractExemplarsStage, ExtractSaliencyStage
from dpc.config.stages import stage
from dpc.pipeline.progress import progress
from dpc.storage import tables
from dpc.storage.provenance import provenance
from dpc.storage.shards import of_shard
from dpc.storage.store import Store, context
from dpc.tasks import get_task

if TYPE_CHECKING:
    from dpc.lm.layout import RightPadded
    from dpc.lm.models import LanguageModel
    from dpc.lm.saliency.measuring import Prefix
    from dpc.lm.saliency.recorder import Reduced
    from dpc.lm.traces import Trace
    from dpc.prompts.soft_prompt import SoftPrompt

STAGE = stage(version=7, rate="saliency", shards="saliency")

STEP_END_TOKENS = 4
"""A step end reaches over so many tokens at most."""


@dataclass(frozen=True)
class Part:
    """What of saliency is measured."""

    name: str
    """For lines of progress."""
    layers: Layers = "all"
    rows: Literal["all", "rationale"] = "all"
    """`rationale`: rows that predict rationale tokens."""


EVERYTHING = Part("saliency")


def run(
    settings: ExtractSaliencyStage,
    *,
    model: Path,
    prompt: Path,
    questions: Path,
    generations: list[Path],
    store: Path,
    shard: int,
    shards: int,
    out: Path,
    execution: Execution,
) -> None:
    """Write table `saliency` of shard `shard` of `shards`, one row per generation.

    Finished batches lie in `store` until the table is written: a killed job goes on from there.
    """
    rows = of_shard(joined(questions, generations), shard, shards)
    texts = rows[["problem_id", "split", "prompt_text", "token_ids"]]
    kept = Store(store, "saliency", context("extract_saliency", settings, model, prompt, texts), execution)

    def make(left: pd.DataFrame) -> Iterator[pd.DataFrame]:
        return measured(settings, model, prompt, left, execution)

    table, device = kept.complete(rows, make)
    tables.write(out, "saliency", table, provenance("extract_saliency", settings, model=model, device=device))
    kept.remove()


def measured(
    settings: ExtractSaliencyStage,
    model: Path,
    prompt: Path,
    left: pd.DataFrame,
    execution: Execution,
    part: Part = EVERYTHING,
) -> Iterator[pd.DataFrame]:
    """Yield rows of table `saliency` for the rows of `joined` that are left, batch by batch."""
    from dpc.lm import models
    from dpc.lm.batches import in_batches
    from dpc.lm.saliency import measuring as saliency
    from dpc.prompts import soft_prompt

    lm = models.load(model, settings.dtype, execution, settings.attention, settings.bos)
    found = soft_prompt.load(prompt, lm)
    measure = partial(
        measure_rows, lm, settings, found, execution.checkpoint_activations, prefix=saliency.Prefix(), part=part
    )
    with progress(len(left), part.name, "question") as bar:
        for batch, made in in_batches(longest_first(lm, left), execution.batch_size.saliency, measure):
            bar.add(len(batch))
            yield pd.DataFrame(made)


@dataclass(frozen=True)
class Said:
    """A row that was just generated."""

    problem_id: str
    split: str
    question_ids: list[int]
    token_ids: list[int]
    trace: Trace


def measured_from_traces(
    settings: ExtractSaliencyStage,
    lm: LanguageModel,
    prompt: Path,
    said: Sequence[Said],
    execution: Execution,
    part: Part,
) -> Iterator[pd.DataFrame]:
    """Do what `measured` does, for a part of the rationale's rows, from what decoding has left of each row."""
    from dpc.lm.batches import in_batches
    from dpc.prompts import soft_prompt

    asked_under = soft_prompt.load(prompt, lm)

    def measure(rows: Sequence[Said]) -> list[dict[str, Any]]:
        traces = [row.trace for row in rows]
        return measure_rows(lm, settings, asked_under, False, rows, part=part, traces=traces)

    by_question = sorted(said, key=lambda row: (-len(row.question_ids), -len(row.token_ids), row.problem_id))
    with progress(len(said), part.name, "question") as bar:
        for batch, found in in_batches(by_question, execution.batch_size.saliency, measure):
            bar.add(len(batch))
            yield pd.DataFrame(found)


def joined(questions: Path, generations: list[Path]) -> pd.DataFrame:
    """Return generations with the text of their questions."""
    asked = tables.read(questions, "questions")[["problem_id", "prompt_text"]]
    return tables.read(generations, "generations").merge(asked, on="problem_id", validate="one_to_one")


def longest_first(lm: LanguageModel, rows: pd.DataFrame) -> list[Any]:
    """Return rows with their `question_ids`, by length: batches are of similar ones, and the first is the largest."""
    records = rows.assign(question_ids=rows["prompt_text"].map(lm.encode))
    return sorted(tables.rows(records), key=lambda r: (-len(r.question_ids) - len(r.token_ids), r.problem_id))


def lay_out(lm: LanguageModel, settings: ExtractExemplarsStage, prompt: SoftPrompt, rows: Sequence[Any]) -> RightPadded:
    """Put questions and their own rationales under their prompt."""
    from dpc.lm.layout import layout_of, right_padded

    questions, rationales = [row.question_ids for row in rows], [list(map(int, row.token_ids)) for row in rows]
    return right_padded(lm, layout_of(lm, settings.layout), prompt.rows(questions), questions, rationales)


def steps_of(lm: LanguageModel, task: AnyTask, token_ids: list[int]) -> list[int]:
    """Return the number of each token's reasoning step, from 0; a step ends with the task's STEP_END.

    A step end may reach into the next tokens (`.$ ` over `.`, `$` and ` Then`): it belongs to the token it begins in.
    Steps without a word of their own (blank lines) count to the step before them.
    """
    end = get_task(task).STEP_END
    steps, step, is_open = [], 0, False
    for place, token in enumerate(token_ids):
        text = lm.decode([token])
        if text.strip(" \n.!?;") and not is_open:
            step, is_open = step + 1, True
        steps.append(max(step - 1, 0))
        found = end.search(lm.decode(token_ids[place : place + STEP_END_TOKENS]))
        if found and found.start() < max(len(text), 1):
            is_open = False
    return steps


def loss_start(lm: LanguageModel, settings: ExtractExemplarsStage, token_ids: list[int]) -> int:
    """Return the first token of the loss span (D5): 0, or for `answer` the token that completes the answer mark.

    That is the mark that the strict reading takes. Where it finds no answer, the span is the last token.
    """
    if settings.saliency.loss_span == "all":
        return 0
    end = get_task(settings.task).mark_end(lm.decode(token_ids))
    if end is None:
        return len(token_ids) - 1
    return bisect_left(range(len(token_ids) - 1), end, key=lambda t: len(lm.decode(token_ids[: t + 1])))


def former_lengths(steps: list[int]) -> tuple[int, int]:
    """Return the tokens of the former half, cut by tokens and cut by steps (D7)."""
    half_of_steps = (steps[-1] + 1) // 2
    return len(steps) // 2, sum(step < half_of_steps for step in steps)


def measure_rows(
    lm: LanguageModel,
    settings: ExtractSaliencyStage,
    prompt: SoftPrompt,
    is_checkpointed: bool,
    rows: Sequence[Any],
    prefix: Prefix | None = None,
    part: Part = EVERYTHING,
    traces: Sequence[Trace] = (),
) -> list[dict[str, Any]]:
    """Return rows of table `saliency` for one batch of `longest_first`'s rows.

    Batches of one prompt may share a `prefix`. What `part` leaves out is 0, or nan where it is a sum over rows. With
    `traces` of the rows, from the first layer of `part` on, and `part` of the rationale's rows, little is left to do.
    """
    from dpc.lm.layout import layout_of
    from dpc.lm.saliency import measuring as saliency
    from dpc.lm.saliency import packed
    from dpc.lm.saliency.recorder import Request

    began = time.perf_counter()
    batch = lay_out(lm, settings, prompt, rows)
    steps = [steps_of(lm, settings.task, ids) for ids in batch.rationale_ids]
    starts = [loss_start(lm, settings, ids) for ids in batch.rationale_ids]
    depth = lm.model.config.num_hidden_layers
    request = Request(
        head_reduce=settings.saliency.head_reduce,
        layers=layer_range(part.layers, depth),
        rows=part.rows,
        band=layer_range(settings.saliency.band, depth),
        checkpoint=is_checkpointed,
    )
    cuts = [former_lengths(each) for each in steps]
    order = layout_of(lm, settings.layout)
    if traces:
        reduced = packed.measure(lm, order, batch, traces, prompt.vectors, cuts, starts, request)
    else:
        reduced = saliency.measure(lm, order, batch, prompt.vectors, cuts, starts, request, prefix)
    start, pass_B = order.prompt_start(), reduced.seconds_BL.amax(1)
    aside = (time.perf_counter() - began - float(pass_B.sum())) / len(rows)
    return [
        _row(rows[b], batch, b, start, steps[b], cuts[b], reduced) | {"seconds": _flat(reduced.seconds_BL[b] + aside)}
        for b in range(len(rows))
    ]


def _row(
    row: Any, batch: RightPadded, b: int, start: int, steps: list[int], cut: tuple[int, int], reduced: Reduced
) -> dict[str, Any]:
    """Return one question's row of table `saliency`, but for the seconds it took."""
    from dpc.lm.saliency.recorder import GROUPS

    positions = batch.predicting_rows(b)
    rationale = slice(positions.start, positions.stop)
    sums = {f"row_{group}": _flat(reduced.groups_BLSG[b, :, rationale, g]) for g, group in enumerate(GROUPS)}
    return {
        "problem_id": row.problem_id,
        "split": row.split,
        "layers": reduced.groups_BLSG.shape[1],
        "vectors": reduced.band_BSN.shape[2],
        "prompt_start": start,
        "question_tokens": batch.question_tokens[b],
        "rationale_tokens": len(steps),
        "former_tokens": cut[0],
        "former_steps": cut[1],
        "step_of_token": steps,
        "nll": _flat(reduced.nll[b]),
        "entropy": _flat(reduced.entropy[b]),
        **sums,
        "column_question": _flat(reduced.prompt_BLRN[b, :, 0]),
        "column_rationale": _flat(reduced.prompt_BLRN[b, :, 1]),
        "band": _flat(reduced.band_BSN[b, rationale]),
        "row_attention": _flat(reduced.attention_BLS[b, :, rationale]),
        "attention_question": _flat(reduced.attention_BLRN[b, :, 0]),
        "attention_rationale": _flat(reduced.attention_BLRN[b, :, 1]),
    }


def _flat(values: Any) -> Any:
    return values.float().cpu().reshape(-1).numpy()
