"""Batched greedy generation in which every row may have its own soft prompt.

What the rows of a batch have in common, BOS and prompt up to the first vector that differs, is run once, and its keys
and values are copied to every row. A row that has ended is dropped at once: the last row takes its place.
Axes: B batch, S column, K shared prefix, D width.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.config.methods import Act
from dpc.errors import DpcError
from dpc.lm.act.calibration import Calibration, calibrated
from dpc.lm.batches import in_batches
from dpc.lm.cache import Past
from dpc.lm.layout import Layout, check_length, left_padded, shared_prefix
from dpc.lm.models import LanguageModel

STOP_WINDOW = 16
"""Tokens looked at for a stop text while decoding, beside one for each of its bytes."""
SHARED_FROM = 4
"""A shared prefix shorter than this is not worth a forward pass of its own."""


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
    """From `groups`, over all requests of a job, also those that it need not answer any more."""


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


@dataclass(frozen=True)
class Limits:
    """When a generation ends."""

    max_new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibrated:
    """Attention calibration while decoding: the rule, and the heads of each layer that it is switched on in."""

    rule: Act
    heads: dict[int, list[int]]


def groups(prompts: Sequence[Hashable], batch_size: int) -> list[int]:
    """Return the group of each request from its prompt's name: a prompt that fills batches of its own has them.

    So it is run once for each batch, and not once for each row. All others share the last group.
    """
    rows_of = Counter(prompts)
    first: dict[Hashable, int] = {}
    return [
        first.setdefault(prompt, i) if rows_of[prompt] >= batch_size else len(prompts)
        for i, prompt in enumerate(prompts)
    ]


def order_of_work(requests: Sequence[Request]) -> list[int]:
    """Return the order in which requests are cut into batches: by group, then the longest first.

    Rows that end together come together, and what does not fit into memory shows early. Whole batches may be left out:
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
) -> Iterator[tuple[list[int], list[Generated]]]:
    """Answer `requests` greedily, calibrated by `act`, yielding batch by batch the indices and their generations.

    Raises DpcError if prompt, question and the longest rationale do not fit the context, or one question the memory.
    """
    for request in requests:
        vectors = 0 if request.prompt_ND is None else len(request.prompt_ND)
        check_length(lm, vectors, len(request.question_ids), limits.max_new_tokens)

    def timed(indices: Sequence[int]) -> tuple[list[list[int]], float]:
        started = time.perf_counter()
        rows = _greedy(lm, layout, [requests[i] for i in indices], limits, act)
        return rows, (time.perf_counter() - started) / len(indices)

    order = order_of_work(requests)
    for indices, (rows, seconds) in in_batches(order, batch_size, timed):
        yield list(indices), [_finish(lm, row, limits, seconds) for row in rows]


@torch.inference_mode()
def _greedy(
    lm: LanguageModel, layout: Layout, requests: Sequence[Request], limits: Limits, act: Calibrated | None
) -> list[list[int]]:
    """Return the raw greedy tokens of one batch."""
    past, embeds_BSD = _laid_out(lm, layout, requests, limits.max_new_tokens, may_share=act is None)
    if act is not None:
        past.calibration = Calibration(act.rule, act.heads, past.mask_BS[:, : embeds_BSD.shape[1]])
    with calibrated(lm, past.calibration):
        return _continued(lm, past, embeds_BSD, limits)


def _continued(lm: LanguageModel, past: Past, embeds_BSD: Tensor, limits: Limits) -> list[list[int]]:
    """Return the greedy tokens of each row that follow what is laid out."""
    rows, running = [list[int]() for _ in embeds_BSD], list(range(len(embeds_BSD)))  # running[b]: the request of row b
    ending, embedding = Ending(lm, limits.stop), lm.embedding
    for _ in range(limits.max_new_tokens):
        inputs = past.append(embeds_BSD.shape[1])
        next_B = lm.model(inputs_embeds=embeds_BSD, logits_to_keep=1, **inputs).logits[:, -1].argmax(-1)
        for row, token in zip(running, next_B.tolist(), strict=True):
            rows[row].append(token)
        alive = [b for b, row in enumerate(running) if not ending.after(rows[row])]
        if not alive:
            break
        if len(alive) < len(running):
            running = _drop_others(past, running, alive)
            next_B = torch.tensor([rows[row][-1] for row in running], device=lm.device)
        embeds_BSD = embedding(next_B[:, None])
    return rows


def _laid_out(
    lm: LanguageModel, layout: Layout, requests: Sequence[Request], new_tokens: int, may_share: bool
) -> tuple[Past, Tensor]:
    """Return a batch's past, which holds the shared prefix if there is one, and the embeddings that come after it.

    Attention calibration shares none: what it does to the prefix's rows depends on the question behind them.
    """
    prompts, hidden = [r.prompt_ND for r in requests], [r.hidden for r in requests]
    prefix_KD = shared_prefix(lm, layout, prompts, hidden)
    shared = len(prefix_KD) if may_share and len(requests) > 1 and len(prefix_KD) >= SHARED_FROM else 0
    batch = left_padded(lm, layout, prompts, [r.question_ids for r in requests], hidden, shared)
    past = Past(lm, batch.mask_BS, batch.position_ids_BS, batch.mask_BS.shape[1] + new_tokens)
    if shared:
        prefix = Past(lm, batch.mask_BS[:1, :shared], batch.position_ids_BS[:1, :shared], shared)
        lm.model(inputs_embeds=prefix_KD[None], logits_to_keep=1, **prefix.append(shared))
        past.begin_with(prefix)
    return past, batch.embeds_BSD


def _drop_others(past: Past, running: list[int], alive: list[int]) -> list[int]:
    """Drop the rows that are not `alive`; those behind the new end move to the places that fell free."""
    count = len(alive)
    moved, free = [b for b in alive if b >= count], sorted(set(range(count)).difference(alive))
    past.keep(count, moved, free)
    places = dict(zip(free, moved, strict=True))
    return [running[places.get(b, b)] for b in range(count)]


class Ending:
    """Whether a row has ended, after an end mark or a stop text.

    A stop text is looked for only behind a token that may complete it, and in the last few tokens first.
    """

    def __init__(self, lm: LanguageModel, stop: tuple[str, ...]):
        self.lm, self.stop, self.end_ids = lm, stop, set(lm.end_ids)
        self.last_letters = {text[-1] for text in stop}
        self.window = STOP_WINDOW + max((len(text.encode()) for text in stop), default=0)
        self.may_complete: dict[int, bool] = {}

    def after(self, tokens: list[int]) -> bool:
        """Return whether a rationale ends with the last of `tokens`, not having ended before."""
        return tokens[-1] in self.end_ids or (bool(self.stop) and self._completes(tokens[-1]) and self._stops(tokens))

    def _completes(self, token: int) -> bool:
        """Return whether the text of `token` holds the last letter of a stop text, or only part of a letter."""
        if token not in self.may_complete:
            text = self.lm.decode([token, token])  # twice: the first word of a text loses the space before it
            self.may_complete[token] = "\ufffd" in text or not self.last_letters.isdisjoint(text)
        return self.may_complete[token]

    def _stops(self, tokens: list[int]) -> bool:
        """Return whether the text holds a stop text; tokens out of context may read otherwise, so all are read too."""
        near = self.lm.decode(tokens[-self.window :])
        return any(text in near for text in self.stop) and any(text in self.lm.decode(tokens) for text in self.stop)


def _finish(lm: LanguageModel, tokens: list[int], limits: Limits, seconds: float) -> Generated:
    """Say why a generation ended, and cut it before a stop text."""
    if not tokens:
        raise DpcError("a generation came back empty; expected at least one token: raise datasets.NAME.max_new_tokens")
    text = lm.decode(tokens)
    found = [text.index(s) for s in limits.stop if s in text]
    if found:
        text = text[: min(found)]
        while len(tokens) > 1 and len(lm.decode(tokens[:-1])) >= len(text):
            tokens = tokens[:-1]
        return Generated(tokens, text, "stop_text", seconds)
    reason = "end" if tokens[-1] in lm.end_ids else "length"
    return Generated(tokens, text, reason, seconds)
