"""Batched greedy generation in which every row may have its own soft prompt.

What rows of a batch begin with, BOS and prompt, is run once for each prompt, and its keys and values are copied to its
rows; of many prompts only what all have in common, up to the first vector that differs. A row that has ended is dropped
at once: the last row takes its place. When enough places are free, questions that wait take them.
Axes: B batch, U beginning, S column, K column of a beginning, D width.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.errors import DpcError
from dpc.lm.act.calibration import calibrated
from dpc.lm.batches import in_turns
from dpc.lm.drafts import Draft, Drafting, speed_of
from dpc.lm.ending import Ending
from dpc.lm.grouped import grouped
from dpc.lm.layout import Layout, LeftPadded, beginnings, check_length, left_padded
from dpc.lm.memory import rows_that_fit
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import Calibrated, begin, first_tokens, states_of, tokens_at_once
from dpc.lm.running import Running
from dpc.lm.traces import Trace, tracing

SHARED_FROM = 4
"""A beginning shorter than this is not worth a forward pass of its own."""
EACH = 4
"""Places for each beginning at least: beginnings stay in memory, beside the rows."""
TURNS = 4
"""Questions of a batch for each of its places: few places are empty while the longest answer ends."""
FREE = 8
"""An eighth of the places has to be free before questions that wait take them, in one pass."""


@dataclass(frozen=True)
class Request:
    """One question to answer under one prompt."""

    question_ids: list[int]
    prompt_ND: Tensor | None
    hidden: tuple[int, ...] = ()
    """Prompt vectors whose position attention must not see."""
    expected_tokens: int = 0
    """A guess at the rationale's length: rows that end together share a batch."""
    group: int = 0
    """Requests of a job under the same prompt have the same, so that they share batches, and what is run for it."""
    draft: Sequence[int] = ()
    """Tokens that the answer will probably have: they are checked, and change nothing but the time."""
    sure: int = 0
    """So many of them were said in an earlier try at this very request."""


@dataclass(frozen=True)
class Generated:
    """One greedy rationale."""

    token_ids: list[int]
    """End mark included; cut before a stop text."""
    text: str
    stop_reason: str
    """`end`, `stop_text` or `length`."""
    seconds: float
    """Its batch's wall-clock seconds divided by the batch's rows."""
    trace: Trace | None = None
    """Where one was asked for."""


@dataclass(frozen=True)
class Limits:
    """When a generation ends."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()


_Rows = list[tuple[list[int], Trace | None]]
"""Tokens of each row, and its trace."""
Beat = Callable[[Sequence[int], Sequence[list[int]], int], None]
"""Gets the indices of a batch's requests, what each has said so far, and how many of them go on."""


def order_of_work(requests: Sequence[Request]) -> list[int]:
    """Return the order in which requests are cut into batches: by group, then the longest first.

    Rows that end together come together. Whole batches may be left out:
    the others stay what they were.
    """
    return sorted(
        range(len(requests)),
        key=lambda i: (requests[i].group, -requests[i].expected_tokens, -len(requests[i].question_ids), i),
    )


def generate(
    lm: LanguageModel,
    layout: Layout,
    requests: Sequence[Request],
    limits: Limits,
    batch_size: int,
    act: Calibrated | None = None,
    drafting: Drafting | None = None,
    beat: Beat = lambda indices, said, running: None,
    traced: int | None = None,
) -> Iterator[tuple[list[int], list[Generated]]]:
    """Answer `requests` greedily, calibrated by `act`, yielding batch by batch the indices and their generations.

    `drafting` counts what came of drafts. `beat` is called every few seconds at least, and may raise to end the work.
    From layer `traced` on, what saliency needs is kept of every row; no prompt vector may be hidden then.
    Raises DpcError if prompt, question and the longest rationale do not fit the context, or one question the memory.
    """
    lengths = [columns(lm, request, limits) for request in requests]
    counted, order = drafting or Drafting(speed_of(lm)), order_of_work(requests)

    def timed(indices: Sequence[int], places: int) -> tuple[_Rows, float]:
        started, asked = time.perf_counter(), [requests[i] for i in indices]
        told = lambda said, running: beat(indices, said, running)  # noqa: E731
        with grouped(lm):
            rows = _greedy(lm, layout, asked, limits, act, counted, told, traced, places)
        return rows, (time.perf_counter() - started) / len(indices)

    kept = 1 if traced is None else 2  # a row's trace is at most as large as the row, which stays until all have ended
    size = rows_that_fit(lm, kept * max(lengths, default=1), batch_size)
    turns = 1 if act or traced is not None else TURNS  # their rows are worked on together, or stay until all have ended
    for indices, (rows, seconds) in in_turns(order, size, turns, timed):
        yield list(indices), [finish(lm, row, limits, seconds, trace) for row, trace in rows]


def columns(lm: LanguageModel, request: Request, limits: Limits) -> int:
    """Return how long a sequence may get; raise DpcError where that does not fit the context."""
    vectors, question = 0 if request.prompt_ND is None else len(request.prompt_ND), len(request.question_ids)
    check_length(lm, vectors, question, limits.max_new_tokens)
    return vectors + question + limits.max_new_tokens + int(lm.bos_id is not None)


@torch.inference_mode()
def _greedy(
    lm: LanguageModel,
    layout: Layout,
    requests: Sequence[Request],
    limits: Limits,
    act: Calibrated | None,
    drafting: Drafting,
    beat: Callable[[Sequence[list[int]], int], None],
    traced: int | None,
    places: int,
) -> _Rows:
    """Return the raw greedy tokens of one batch, `places` rows of it at once.

    `beat` gets what has been said so far, and how many rows have not ended.
    """
    answers = [list[int]() for _ in requests]
    order = sorted(range(len(requests)), key=lambda i: -_length(requests[i]))  # like rows go in one piece
    asked, said = [requests[i] for i in order], [answers[i] for i in order]
    drafts, first, begun = [_draft(request, act) for request in asked], slice(min(places, len(asked))), 0
    tokens, (heads_UKD, which) = tokens_at_once(lm), _beginnings(lm, layout, asked, act, places)
    states, shared = states_of(lm, heads_UKD, tokens, lambda: beat(answers, len(asked))), heads_UKD.shape[1]
    batch = _laid_out(lm, layout, asked[first], shared)
    past, columns = begin(lm, batch, states, which[first], limits.max_new_tokens), batch.mask_BS.shape[1]
    rows = Running(lm, past, columns, Ending(lm, limits.stop, limits.max_new_tokens), tokens)

    still = lambda: beat(answers, len(rows.said) + len(asked) - begun)  # noqa: E731

    def enter(batch: LeftPadded, those: slice, place: int) -> int:
        for row, token in zip(said[those], first_tokens(lm, past, batch, act, tokens, still, place), strict=True):
            row.append(token)
        rows.begin(said[those], drafts[those])
        return int(those.stop)

    with nullcontext() if traced is None else tracing(lm, past, traced) as traces:
        begun = enter(batch, first, 0)
        with calibrated(lm, past.calibration):
            while rows.said or begun < len(asked):
                if count := _entering(len(asked) - begun, places - len(rows.said), places):
                    those = slice(begun, begun + count)
                    batch = _laid_out(lm, layout, asked[those], shared, columns)
                    begun = enter(batch, those, past.admit(batch.mask_BS, batch.position_ids_BS, states, which[those]))
                if rows.said:
                    rows.go_on(drafting, still)
    place = {i: row for row, i in enumerate(order)}
    return [(answer, traces[place[i]] if traces else None) for i, answer in enumerate(answers)]


def _entering(waiting: int, free: int, places: int) -> int:
    """Return how many questions that wait begin now: none before an eighth of the places is free."""
    return min(waiting, free) if free >= max(1, places // FREE) else 0


def _length(request: Request) -> int:
    return len(request.question_ids) + (0 if request.prompt_ND is None else len(request.prompt_ND))


def _draft(request: Request, act: Calibrated | None) -> Draft:
    """Return what a row may be checked against; what the released function says depends on the rows of a pass."""
    if act and act.rule.mode == "released":
        return Draft(())
    return Draft(request.draft, request.sure)


def _beginnings(
    lm: LanguageModel, layout: Layout, requests: Sequence[Request], act: Calibrated | None, places: int
) -> tuple[Tensor, list[int]]:
    """Return what rows begin with (U x K x D), where it is worth a pass of its own, and which is each row's.

    Attention calibration shares none: what it does to the prefix's rows depends on the question behind them.
    """
    prompts, hidden = [r.prompt_ND for r in requests], [r.hidden for r in requests]
    heads_UKD, which = beginnings(lm, layout, prompts, hidden, places // EACH)
    is_worth_it = not act and len(requests) > 1 and heads_UKD.shape[1] >= SHARED_FROM
    return heads_UKD if is_worth_it else heads_UKD[:, :0], which


def _laid_out(
    lm: LanguageModel, layout: Layout, requests: Sequence[Request], shared: int, columns: int = 0
) -> LeftPadded:
    """Return requests as a batch without what they begin with, with so many columns at least."""
    questions, hidden = [r.question_ids for r in requests], [r.hidden for r in requests]
    return left_padded(lm, layout, [r.prompt_ND for r in requests], questions, hidden, shared, columns)


def finish(
    lm: LanguageModel, tokens: list[int], limits: Limits, seconds: float, trace: Trace | None = None
) -> Generated:
    """Say why a generation ended, and cut it before a stop text."""
    if not tokens:
        raise DpcError("a generation came back empty; expected at least one token: raise datasets.NAME.max_new_tokens")
    text = lm.decode(tokens)
    found = [text.index(s) for s in limits.stop if s in text]
    if found:
        text = text[: min(found)]
        while len(tokens) > 1 and len(lm.decode(tokens[:-1])) >= len(text):
            tokens = tokens[:-1]
        return Generated(tokens, text, "stop_text", seconds, trace)
    reason = "end" if tokens[-1] in lm.end_ids else "length"
    return Generated(tokens, text, reason, seconds, trace)
