"""The loss of stored rationales under interventions: other prompts, other states, columns that late rows do not see.

A head (`heads.py`) is run once and shared by all questions behind it; a pass costs question and rationale alone.
Axes: B batch, Q row of the body, S column (head and body), D width, T rationale token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dpc.lm.cache import Past
from dpc.lm.causal.heads import Head
from dpc.lm.grouped import grouped
from dpc.lm.layout import RightPadded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel, other_forwards


@dataclass(frozen=True)
class Body:
    """Questions and rationales that stand behind a head."""

    question_ids: Sequence[Sequence[int]]
    rationale_ids: Sequence[Sequence[int]]

    def __len__(self) -> int:
        return len(self.question_ids)

    def part(self, rows: slice) -> Body:
        """Return some rows."""
        return Body(self.question_ids[rows], self.rationale_ids[rows])


@dataclass(frozen=True)
class Cut:
    """Attention that is missing: in these layers, a row from its first cut one on sees none of its hidden columns."""

    layers: range
    columns: Sequence[Sequence[int]]
    """Of each sequence, counted from the head's first."""
    first: Sequence[int]
    """The first rationale token of each sequence that is predicted without them."""

    def hidden_BQS(self, batch: RightPadded, rows: int, columns: int, device: torch.device) -> Tensor:
        """Return which columns each of the body's rows does not see."""
        hidden_BQS = torch.zeros(len(self.columns), rows, columns, dtype=torch.bool, device=device)
        for b, (hidden, first) in enumerate(zip(self.columns, self.first, strict=True)):
            row = batch.predicting_rows(b).start + first - batch.question_start
            hidden_BQS[b, row:, list(hidden)] = True
        return hidden_BQS


@contextmanager
def cutting(lm: LanguageModel, layers: Sequence[int] | range, hidden_BQS: Tensor) -> Iterator[None]:
    """Let attention of these layers not see the hidden columns of a pass, of which there may be fewer than S by now."""
    hidden_B1QS = hidden_BQS[:, None]

    def make(forward: Any) -> Any:
        def cut(*args: Any, attention_mask: Tensor, **kwargs: Any) -> Any:
            hidden = hidden_B1QS[..., : attention_mask.shape[-1]]
            mask = attention_mask.masked_fill(hidden, torch.finfo(attention_mask.dtype).min)
            return forward(*args, attention_mask=mask, **kwargs)

        return cut

    every = lm.model.get_decoder().layers
    with other_forwards([every[layer].self_attn for layer in layers], make):
        yield


def laid_out(lm: LanguageModel, head: Head, body: Body) -> RightPadded:
    """Return the body's embeddings, padded on the right, and where its tokens stand behind the head."""
    tokens = [[*q, *r] for q, r in zip(body.question_ids, body.rationale_ids, strict=True)]
    length = max(map(len, tokens))
    ids_BS = torch.tensor([row + [lm.pad_id] * (length - len(row)) for row in tokens], device=lm.device)
    lengths = [len(ids) for ids in body.question_ids]
    return RightPadded(lm.embedding(ids_BS), [list(ids) for ids in body.rationale_ids], head.columns, lengths)


def run(lm: LanguageModel, head: Head, batch: RightPadded) -> Tensor:
    """Return the decoder's outputs (B, Q, D) at the rows behind the head."""
    rows, count = batch.embeds_BSD.shape[:2]
    position_BS = torch.arange(head.columns, device=lm.device).expand(rows, -1)
    past = Past(lm, torch.ones_like(position_BS), position_BS, head.columns + count)
    past.begin_with(head.states, range(rows) if len(head.states[0][0]) > 1 else [0] * rows)
    inputs = past.fill(slice(0, rows), [head.columns] * rows, count)
    hidden_BQD: Tensor = lm.model.get_decoder()(inputs_embeds=batch.embeds_BSD, **inputs).last_hidden_state
    return hidden_BQD


@torch.inference_mode()
def token_nll(lm: LanguageModel, head: Head, body: Body, cut: Cut | None = None) -> list[Tensor]:
    """Return the NLL in nats of each rationale token [T], row by row, under the head and without what is cut."""
    batch = laid_out(lm, head, body)
    rows, count = batch.embeds_BSD.shape[:2]
    layers = cut.layers if cut else range(0)
    hidden_BQS = (cut or Cut(layers, [()] * rows, [0] * rows)).hidden_BQS(batch, count, head.columns + count, lm.device)
    with grouped(lm), cutting(lm, layers, hidden_BQS):
        return rationale_nll(lm, batch, run(lm, head, batch), head.columns)
