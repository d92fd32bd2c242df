"""Attention saliency |A * dL/dA|, reduced while it is computed.

Since O = A V, dL/dA = dL/dO V^T: no attention matrix has to be kept for the backward pass. Its own A and dL/dA, which
attention's backward pass makes tile by tile (`attention.py`), are added up at once (`recorder.py`).

Axes: B batch, S position, K prefix position, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from dpc.errors import DpcError
from dpc.lm.finite import check_finite
from dpc.lm.layout import Layout, RightPadded
from dpc.lm.losses import rationale_scores
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.attention import Given
from dpc.lm.saliency.recorder import Recorder, Reduced, Request
from dpc.lm.saliency.tiled import before, behind, tiled
from dpc.lm.sparing import checkpointed, lean_layers, only_last_rows, rows_within
from dpc.storage.model_files import FAMILIES


def span_loss(nll: list[Tensor], starts: list[int]) -> Tensor:
    """Return the loss (D5, D6): per row the mean NLL of its tokens from `starts` on, summed over the batch.

    A mean over the batch would scale saliency by 1 / batch size.
    """
    return torch.stack([row[start:].mean() for row, start in zip(nll, starts, strict=True)]).sum()


class Prefix:
    """Keys and values of what all rows of all batches under one prompt begin with: made once, and while it stays so."""

    def __init__(self) -> None:
        self._embeds_BKD: Tensor | None = None
        self._given: list[Given] = []

    def given(self, embeds_BKD: Tensor, make: Callable[[Tensor], list[Given]]) -> list[Given]:
        """Return what `make` makes of `embeds_BKD`, the last of it if they are the same; one row stands for all."""
        if self._embeds_BKD is None or not torch.equal(self._embeds_BKD, embeds_BKD):
            self._embeds_BKD, self._given = embeds_BKD, make(embeds_BKD)
        return self._given


def _scores(
    lm: LanguageModel, batch: RightPadded, recorder: Recorder, prefix: Prefix
) -> tuple[list[Tensor], list[Tensor]]:
    """Return NLL and entropy at every rationale token, on a graph that begins at the recorder's first row."""
    embeds_BSD, first, start = batch.embeds_BSD.detach(), recorder.graph_start, batch.question_start
    if min(first, start) > 0:
        heads_BSD = embeds_BSD[:1] if batch.is_prompt_shared else embeds_BSD
        recorder.given = prefix.given(heads_BSD[:, : min(first, start)], partial(_given, lm))
    if first > start:
        recorder.given = _given(lm, embeds_BSD[:, start:first], recorder.given)
    hidden_BSD = behind(lm, embeds_BSD, first)
    return rationale_scores(lm, batch, hidden_BSD, first)


@torch.no_grad()
def _given(lm: LanguageModel, embeds_BSD: Tensor, given: Sequence[Given] = ()) -> list[Given]:
    """Return every layer's keys and values of what goes before the graph: `given` ones, and those behind them."""
    return before(lm, embeds_BSD, given)


def measure(
    lm: LanguageModel,
    layout: Layout,
    batch: RightPadded,
    vectors: int,
    cuts: list[tuple[int, int]],
    starts: list[int],
    request: Request,
    prefix: Prefix | None = None,
) -> Reduced:
    """Measure saliency on a batch with `vectors` prompt vectors; batches of one prompt may share a `prefix`.

    `cuts[b]` are the rationale tokens in the former half by tokens and by steps (D7), `starts[b]` the first token of
    the loss span. Raises DpcError for a model family the tap is not proved for, and where a loss or
    saliency is not finite.
    """
    config = lm.model.config
    if config.model_type not in FAMILIES:
        raise DpcError(
            f"saliency of model family {config.model_type!r} is not supported; expected {', '.join(FAMILIES)}"
        )
    prompt, prefix = slice(layout.prompt_start(), layout.prompt_start() + vectors), prefix or Prefix()
    count, step = len(starts), rows_within(lm, batch.embeds_BSD.shape[1])
    parts = [slice(first, first + step) for first in range(0, count, step)]
    return Reduced.joined(
        [_measured(lm, batch.part(rows), prompt, cuts[rows], starts[rows], request, prefix) for rows in parts]
    )


def _measured(
    lm: LanguageModel,
    batch: RightPadded,
    prompt: slice,
    cuts: list[tuple[int, int]],
    starts: list[int],
    request: Request,
    prefix: Prefix,
) -> Reduced:
    """Measure saliency on rows that go through the model at once."""
    config = lm.model.config
    recorder = Recorder(request, batch, prompt, cuts, config.num_hidden_layers, config.num_attention_heads)
    with (
        lean_layers(lm),
        only_last_rows(lm, batch.embeds_BSD.shape[1] - recorder.first_row),
        tiled(lm, recorder.passage),
        checkpointed(lm, request.checkpoint),
        torch.enable_grad(),
    ):
        nll, entropy = _scores(lm, batch, recorder, prefix)
        check_finite(torch.cat([*nll, *entropy]), "a rationale token's loss or entropy")
        torch.autograd.grad(span_loss(nll, starts), [recorder.leaf])
    return recorder.reduced(nll, entropy)
