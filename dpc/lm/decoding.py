"""Batched greedy generation in which every row may have its own soft prompt. Axes: B batch, S position, D width."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.errors import DpcError
from dpc.lm.layout import Layout, check_length, left_padded
from dpc.lm.models import LanguageModel

STOP_WINDOW = 16
"""Tokens looked at for a stop text while decoding."""
COMPACT_AT = 0.75
"""Finished rows are dropped from the batch when no more than this share of its rows is still alive."""


@dataclass(frozen=True)
class Request:
    """One question to answer under one prompt."""

    question_ids: list[int]
    prompt_ND: Tensor | None
    hidden: tuple[int, ...] = ()
    """Prompt vectors whose position attention must not see."""
    expected_tokens: int = 0
    """A guess at the rationale's length: rows that end together share a batch."""


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
    batch: int


@dataclass(frozen=True)
class Limits:
    """When a generation ends."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()


def plan_batches(requests: Sequence[Request], size: int) -> list[list[int]]:
    """Return the composition of every batch as indices, longest first: out of memory shows at once, not at the end."""
    order = sorted(
        range(len(requests)),
        key=lambda i: (-requests[i].expected_tokens, -len(requests[i].question_ids), i),
    )
    return [order[start : start + size] for start in range(0, len(order), size)]


def generate(
    lm: LanguageModel, layout: Layout, requests: Sequence[Request], limits: Limits, batch_size: int
) -> Iterator[tuple[list[int], list[Generated]]]:
    """Answer `requests` greedily, yielding batch by batch the indices and their generations.

    Raises DpcError if prompt, question and the longest rationale do not fit the context.
    """
    for request in requests:
        vectors = 0 if request.prompt_ND is None else len(request.prompt_ND)
        check_length(lm, vectors, len(request.question_ids), limits.max_new_tokens)
    for number, indices in enumerate(plan_batches(requests, batch_size)):
        started = time.perf_counter()
        tokens = _greedy(lm, layout, [requests[i] for i in indices], limits)
        seconds = (time.perf_counter() - started) / len(indices)
        yield indices, [_finish(lm, row, limits, seconds, number) for row in tokens]


@torch.inference_mode()
def _greedy(lm: LanguageModel, layout: Layout, requests: Sequence[Request], limits: Limits) -> list[list[int]]:
    """Return the raw greedy tokens of one batch."""
    from dpc.lm.cache import roomy_cache

    batch = left_padded(
        lm, layout, [r.prompt_ND for r in requests], [r.question_ids for r in requests], [r.hidden for r in requests]
    )
    rows, running = [list[int]() for _ in requests], list(range(len(requests)))  # running[b]: the request of row b
    cache, mask_BS, position_B1 = roomy_cache(limits.max_new_tokens), batch.mask_BS, batch.position_ids_BS[:, -1:]
    inputs = {"inputs_embeds": batch.embeds_BSD, "position_ids": batch.position_ids_BS}
    alive = set(running)
    for _ in range(limits.max_new_tokens):
        logits_BV = lm.model(
            **inputs, attention_mask=mask_BS, past_key_values=cache, use_cache=True, logits_to_keep=1
        ).logits[:, -1]
        next_B = logits_BV.argmax(-1)
        _append(lm, rows, running, alive, next_B.tolist(), limits.stop)
        if not alive:
            break
        if len(alive) <= COMPACT_AT * len(running):
            keep = torch.tensor([b for b, row in enumerate(running) if row in alive], device=lm.device)
            cache.batch_select_indices(keep)
            running = [row for row in running if row in alive]
            mask_BS, position_B1, next_B = mask_BS[keep], position_B1[keep], next_B[keep]
        position_B1 = position_B1 + 1
        mask_BS = torch.cat([mask_BS, torch.ones_like(position_B1)], 1)
        inputs = {"input_ids": next_B[:, None], "position_ids": position_B1}
    return rows


def _append(
    lm: LanguageModel,
    rows: list[list[int]],
    running: list[int],
    alive: set[int],
    tokens: list[int],
    stop: tuple[str, ...],
) -> None:
    """Add a token to every row still alive, and take out of `alive` the rows that have ended."""
    for row, token in zip(running, tokens, strict=True):
        if row in alive:
            rows[row].append(token)
            if token in lm.end_ids or (stop and any(text in lm.decode(rows[row][-STOP_WINDOW:]) for text in stop)):
                alive.remove(row)


def _finish(lm: LanguageModel, tokens: list[int], limits: Limits, seconds: float, batch: int) -> Generated:
    """Say why a generation ended, and cut it before a stop text."""
    if not tokens:
        raise DpcError("a generation came back empty; expected at least one token: raise datasets.NAME.max_new_tokens")
    text = lm.decode(tokens)
    found = [text.index(s) for s in limits.stop if s in text]
    if found:
        text = text[: min(found)]
        while len(tokens) > 1 and len(lm.decode(tokens[:-1])) >= len(text):
            tokens = tokens[:-1]
        return Generated(tokens, text, "stop_text", seconds, batch)
    reason = "end" if tokens[-1] in lm.end_ids else "length"
    return Generated(tokens, text, reason, seconds, batch)
