"""Positions of tokens: `[BOS][prompt][question][rationale]` or `[prompt][BOS][question][rationale]`.

The only file that knows. Axes: B batch, S position, N prompt vector, D width. Generation pads on the left, so that new
tokens line up; teacher forcing pads on the right, so that the causal mask alone is right and the prompt stands at fixed
columns. Pads never shift a position id (PEFT's prompt tuning gets this wrong under left padding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.errors import DpcError
from dpc.lm.models import LanguageModel


@dataclass(frozen=True)
class Layout:
    """The order of a sequence for one model."""

    order: str
    """`bos_first` or `prompt_first` (D3)."""
    has_bos: bool

    def prompt_start(self) -> int:
        """Return the column of the prompt's first vector in an unpadded sequence."""
        return int(self.has_bos and self.order == "bos_first")

    def question_start(self, vectors: int) -> int:
        """Return the column of the question's first token in an unpadded sequence."""
        return vectors + int(self.has_bos)


@dataclass(frozen=True)
class LeftPadded:
    """A batch to generate from: `[shared prefix][pad][rest]`."""

    embeds_BSD: Tensor
    """Without the shared prefix, which lies in a cache."""
    mask_BS: Tensor
    """1 where attention may look. Like the position ids, over all columns, the prefix's first."""
    position_ids_BS: Tensor
    pads: list[int]
    """Of each row."""


@dataclass(frozen=True)
class RightPadded:
    """A batch to teach or measure on. Row b holds the prompt, Q[b] question and T[b] rationale tokens."""

    embeds_BSD: Tensor
    rationale_ids: list[list[int]]
    question_start: int
    """Column of the first question token, the same in every row."""
    question_tokens: list[int]
    """Q[b]."""
    is_prompt_shared: bool = True
    """Whether all rows have the same prompt."""

    def predicting_rows(self, row: int) -> range:
        """Return the positions that predict each rationale token of `row`: token t is predicted at its position - 1."""
        first = self.question_start + self.question_tokens[row] - 1
        return range(first, first + len(self.rationale_ids[row]))

    def part(self, rows: slice) -> RightPadded:
        """Return some rows, padded as before."""
        kept, tokens = self.rationale_ids[rows], self.question_tokens[rows]
        return RightPadded(self.embeds_BSD[rows], kept, self.question_start, tokens, self.is_prompt_shared)


def layout_of(lm: LanguageModel, order: str) -> Layout:
    """Return the layout `order` for `lm`."""
    return Layout(order, lm.bos_id is not None)


def _head(lm: LanguageModel, layout: Layout, prompt: Tensor | None) -> list[Tensor]:
    """Return what stands in front of the question, in order; the prompt may be N x D or B x N x D."""
    parts = []
    if lm.bos_id is not None:
        parts.append(lm.embedding(torch.tensor([lm.bos_id], device=lm.device)))
    if prompt is not None:
        parts.insert(layout.prompt_start() if parts else 0, prompt.to(lm.embedding.weight))
    return parts


def shared_prefix(
    lm: LanguageModel, layout: Layout, prompts: Sequence[Tensor | None], hidden: Sequence[Sequence[int]]
) -> Tensor:
    """Return what all rows begin with (K x D): BOS and prompt up to the first vector that differs or is hidden."""
    return _common(layout, list(_heads(lm, layout, prompts).values()), hidden)


def beginnings(
    lm: LanguageModel, layout: Layout, prompts: Sequence[Tensor | None], hidden: Sequence[Sequence[int]], most: int
) -> tuple[Tensor, list[int]]:
    """Return what rows begin with, each beginning once (U x K x D), and which of them is each row's.

    That is BOS and prompt where at most `most` are different, all as long and nothing hidden; or else `shared_prefix`.
    """
    found = _heads(lm, layout, prompts)
    names, heads = list(found), list(found.values())
    if 1 < len(heads) <= most and len(set(map(len, heads))) == 1 and not any(hidden):
        return torch.stack(heads), [names.index(id(prompt_ND)) for prompt_ND in prompts]
    return _common(layout, heads, hidden)[None], [0] * len(prompts)


def _heads(lm: LanguageModel, layout: Layout, prompts: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """Return BOS and prompt, of each tensor once, by its id."""
    different, nothing = {id(prompt_ND): prompt_ND for prompt_ND in prompts}, lm.embedding.weight[:0]
    return {name: torch.cat([*_head(lm, layout, prompt_ND), nothing]) for name, prompt_ND in different.items()}


def _common(layout: Layout, heads: Sequence[Tensor], hidden: Sequence[Sequence[int]]) -> Tensor:
    """Return what all heads begin with (K x D), up to the first vector that is hidden."""
    length = min([*map(len, heads), *(layout.prompt_start() + j for vectors in hidden for j in vectors)])
    equal_K = torch.ones(length, dtype=torch.bool, device=heads[0].device)
    for head in heads[1:]:
        equal_K &= (head[:length] == heads[0][:length]).all(-1)
    return heads[0][: int(equal_K.long().cumprod(0).sum())]


def left_padded(
    lm: LanguageModel,
    layout: Layout,
    prompts: Sequence[Tensor | None],
    question_ids: Sequence[Sequence[int]],
    hidden: Sequence[Sequence[int]] | None = None,
    shared: int = 0,
    columns: int = 0,
) -> LeftPadded:
    """Lay out questions for generation, each row under its own prompt (N x D, or None for no prompt).

    `hidden` lists, per row, prompt vectors whose position attention must not see; their positions are kept. The first
    `shared` positions, which a cache holds, are left out: the pads stand behind them. With them there are `columns` at
    least.
    """
    rows = []
    for prompt_ND, ids in zip(prompts, question_ids, strict=True):
        tokens = torch.tensor(ids, dtype=torch.long, device=lm.device)
        rows.append(torch.cat([*_head(lm, layout, prompt_ND), lm.embedding(tokens)])[shared:])
    length = max([columns - shared, *map(len, rows)])
    embeds_BSD = torch.zeros(len(rows), length, rows[0].shape[-1], dtype=rows[0].dtype, device=lm.device)
    mask_BS = torch.ones(len(rows), shared + length, dtype=torch.long, device=lm.device)
    for b, row in enumerate(rows):
        embeds_BSD[b, length - len(row) :] = row
        mask_BS[b, shared : shared + length - len(row)] = 0
    position_ids_BS = (mask_BS.cumsum(1) - 1).clamp(min=0)
    for b, vectors in enumerate(hidden or []):
        start = length - len(rows[b]) + layout.prompt_start()
        mask_BS[b, [start + j for j in vectors]] = 0
    return LeftPadded(embeds_BSD, mask_BS, position_ids_BS, [length - len(row) for row in rows])


def right_padded(
    lm: LanguageModel,
    layout: Layout,
    prompt: Tensor | None,
    question_ids: Sequence[Sequence[int]],
    rationale_ids: Sequence[Sequence[int]],
) -> RightPadded:
    """Lay out questions with their rationales, under one prompt (N x D) or each under its own (B x N x D).

    Differentiable in `prompt`.
    """
    tokens = [list(q) + list(r) for q, r in zip(question_ids, rationale_ids, strict=True)]
    length = max(map(len, tokens))
    ids_BS = torch.full((len(tokens), length), lm.pad_id, dtype=torch.long)
    for b, row in enumerate(tokens):
        ids_BS[b, : len(row)] = torch.tensor(row)
    head = _head(lm, layout, prompt)
    body_BSD = lm.embedding(ids_BS.to(lm.device))
    parts = [part.expand(len(tokens), -1, -1) for part in head] + [body_BSD]
    start, is_shared = sum(part.shape[-2] for part in head), prompt is None or prompt.dim() == 2
    kept, lengths = [list(r) for r in rationale_ids], [len(q) for q in question_ids]
    return RightPadded(torch.cat(parts, 1), kept, start, lengths, is_shared)


def check_length(lm: LanguageModel, vectors: int, question: int, rationale: int) -> None:
    """Raise DpcError if prompt, question and rationale (in tokens) do not fit the model's context."""
    total = vectors + question + rationale + int(lm.bos_id is not None)
    if total > lm.context:
        raise DpcError(
            f"prompt ({vectors}) + question ({question}) + rationale ({rationale}) make {total} tokens, but the "
            f"model's context is {lm.context}; shorten recipes.NAME.vectors or datasets.NAME.max_new_tokens"
        )
