"""Attention saliency |A * dL/dA|, reduced while it is made.

Since O = A V, dL/dA = dL/dO V^T: no attention matrix has to be kept for the backward pass. The forward pass runs
torch's fused attention; an identity function at each attention output receives dL/dO in the backward pass, rebuilds A
tile by tile, reduces |A * dL/dA| over heads and sums it into the groups of rows and columns that the study needs.

Axes: B batch, L layer, H head, S position, Q query row, K key column, N prompt vector, G group of columns,
R group of rows, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dpc.errors import DpcError
from dpc.lm.layout import Layout, RightPadded
from dpc.lm.models import FAMILIES, LanguageModel
from dpc.lm.training import target_nll

ATTENTION = "dpc_saliency"
TILE_ROWS = 128


@dataclass(frozen=True)
class Request:
    """What to measure and keep."""

    head_reduce: str = "abs_mean"
    """`abs_mean`: mean over heads of |A * dL/dA| (DPC); `sum_abs`: |mean over heads of A * dL/dA|."""
    band: range = range(0)
    """Layers whose rows x prompt columns are summed."""
    full: tuple[range, ...] = ()
    """Bands of layers whose full S x S mean is kept; for single instances only."""


@dataclass(frozen=True)
class Reduced:
    """Saliency of a batch, reduced. float64 for float64 models, else float32."""

    groups_BLSG: Tensor
    """Sums over column groups, the row's own column left out; group order as in `column_groups`."""
    prompt_BLRN: Tensor
    """Sums over row groups (question rows, rationale rows) for each prompt column."""
    band_BSN: Tensor
    """Rows x prompt columns, summed over the layers of `Request.band`."""
    full_BSS: tuple[Tensor, ...]
    """Full maps, one per band of `Request.full`, mean over the band's layers."""
    nll: list[Tensor]
    """Per row of the batch, the NLL in nats of every rationale token."""


GROUPS = ("prompt", "question", "rationale", "former_tokens", "former_steps")


class _Recorder:
    """Takes dL/dO from the backward pass, layer by layer, and adds up what is asked for."""

    def __init__(self, request: Request, columns_BSG: Tensor, rows_BRS: Tensor, prompt: slice, layers: int):
        self.request, self.columns_BSG, self.rows_BRS, self.prompt = request, columns_BSG, rows_BRS, prompt
        batch, length, groups = columns_BSG.shape
        vectors = prompt.stop - prompt.start
        new = columns_BSG.new_zeros
        self.groups_BLSG = new(batch, layers, length, groups)
        self.prompt_BLRN = new(batch, layers, rows_BRS.shape[1], vectors)
        self.band_BSN = new(batch, length, vectors)
        self.full_BSS = [new(batch, length, length) for _ in request.full]
        self.leaf = new(())
        """The first attention output: where the graph begins."""

    def add(self, layer: int, first_row: int, signed_BHQK: Tensor) -> None:
        """Reduce one tile of A * dL/dA: rows from `first_row` on, columns from 0 to the tile's last row."""
        is_abs_first = self.request.head_reduce == "abs_mean"
        tile_BQK = signed_BHQK.abs_().mean(1) if is_abs_first else signed_BHQK.mean(1).abs_()
        rows = slice(first_row, first_row + tile_BQK.shape[1])
        for full_BSS, layers in zip(self.full_BSS, self.request.full, strict=True):
            if layer in layers:
                full_BSS[:, rows, : tile_BQK.shape[2]] += tile_BQK / len(layers)
        tile_BQK.diagonal(offset=first_row, dim1=1, dim2=2).zero_()  # a row's own column is no flow between tokens
        self.groups_BLSG[:, layer, rows] = tile_BQK @ self.columns_BSG[:, : tile_BQK.shape[2]]
        seen = min(self.prompt.stop, tile_BQK.shape[2])
        prompt_BQN = tile_BQK[:, :, self.prompt.start : seen]
        vectors = slice(0, prompt_BQN.shape[2])
        self.prompt_BLRN[:, layer, :, vectors] += self.rows_BRS[:, :, rows] @ prompt_BQN
        if layer in self.request.band:
            self.band_BSN[:, rows, vectors] += prompt_BQN


_active: list[_Recorder] = []


class _Tap(torch.autograd.Function):
    """Identity at an attention output whose backward pass hands dL/dO to the recorder."""

    @staticmethod
    def forward(
        ctx: Any, output_BHSD: Tensor, query: Tensor, key: Tensor, value: Tensor, more: tuple[Any, ...]
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.more = more
        return output_BHSD.view_as(output_BHSD)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        layer, scale, window, recorder = ctx.more
        query, key, value = ctx.saved_tensors
        for first, tile in _tiles(query, key, value, gradients[0], scale, window):
            recorder.add(layer, first, tile)
        return gradients[0], None, None, None, None


@torch.no_grad()
def _tiles(
    query_BHSD: Tensor, key_BJSD: Tensor, value_BJSD: Tensor, gradient_BHSD: Tensor, scale: float, window: int | None
) -> Iterator[tuple[int, Tensor]]:
    """Yield first row and signed A * dL/dA (B, H, Q, K) of each tile; J key-value heads serve H = J x group heads.

    Keys reach from 0 to the tile's last row, so a row's softmax is complete within its tile.
    """
    batch, heads, length, width = query_BHSD.shape
    shared = key_BJSD.shape[1]
    wide = torch.float64 if query_BHSD.dtype == torch.float64 else torch.float32
    grouped = (batch, shared, heads // shared, length, width)
    query_BJgSD = (query_BHSD.to(wide) * scale).reshape(grouped)
    gradient_BJgSD = gradient_BHSD.to(wide).reshape(grouped)
    key_BJ1SD, value_BJ1SD = key_BJSD.to(wide)[:, :, None], value_BJSD.to(wide)[:, :, None]
    for first in range(0, length, TILE_ROWS):
        last = min(first + TILE_ROWS, length)
        hidden_QK = _hidden(first, last, window, query_BHSD.device)
        scores = query_BJgSD[..., first:last, :] @ key_BJ1SD[..., :last, :].transpose(-1, -2)
        attention = scores.masked_fill_(hidden_QK, float("-inf")).softmax(-1)
        slope = gradient_BJgSD[..., first:last, :] @ value_BJ1SD[..., :last, :].transpose(-1, -2)
        yield first, attention.mul_(slope).view(batch, heads, last - first, last)


def _hidden(first: int, last: int, window: int | None, device: torch.device) -> Tensor:
    """Return which keys (0 to `last`) rows `first` to `last` must not see: later ones, and those outside the window."""
    rows_Q1 = torch.arange(first, last, device=device)[:, None]
    columns_K = torch.arange(last, device=device)[None]
    hidden_QK = columns_K > rows_Q1
    return hidden_QK if window is None else hidden_QK | (rows_Q1 - columns_K >= window)


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of right-padded rows, with the tap; transformers' attention interface (B, H, S, D)."""
    length = query.shape[2]
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    window = sliding_window if sliding_window is not None and sliding_window < length else None
    mask = None if window is None else ~_hidden(0, length, window, query.device)
    output = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    recorder = _active[-1]
    if module.layer_idx == 0:  # nothing below the first attention output has to be differentiated
        output = recorder.leaf = output.detach().requires_grad_(True)
    more = (module.layer_idx, scale, window, recorder)
    output = _Tap.apply(output, query.detach(), key.detach(), value.detach(), more)
    return output.transpose(1, 2).contiguous(), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Rows are padded on the right: the causal mask, built into `_attention`, is all they need."""


@contextmanager
def _recording(lm: LanguageModel, recorder: _Recorder) -> Iterator[None]:
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _no_mask)  # an unregistered name would silently get no mask at all
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation(ATTENTION)
    _active.append(recorder)
    try:
        yield
    finally:
        _active.pop()
        lm.model.set_attn_implementation(before)


def column_groups(batch: RightPadded, cuts: list[tuple[int, int]], like: Tensor) -> Tensor:
    """Return indicators (B, S, G) of the columns in each of GROUPS; `cuts` are the two former lengths of each row."""
    groups_BSG = like.new_zeros(*batch.embeds_BSD.shape[:2], len(GROUPS))
    for b, (rationale, (tokens, steps)) in enumerate(zip(batch.rationale_ids, cuts, strict=True)):
        question = batch.question_start
        start = question + batch.question_tokens[b]
        groups_BSG[b, question:start, 1] = 1
        for group, count in ((2, len(rationale)), (3, tokens), (4, steps)):
            groups_BSG[b, start : start + count, group] = 1
    return groups_BSG


def row_groups(batch: RightPadded, like: Tensor) -> Tensor:
    """Return indicators (B, R, S) of question rows and rationale rows.

    The last question row predicts the first rationale token and counts as its row (D8); the last rationale token
    predicts nothing and is in neither.
    """
    rows_BRS = like.new_zeros(len(batch.rationale_ids), 2, batch.embeds_BSD.shape[1])
    for b in range(len(batch.rationale_ids)):
        rows = batch.predicting_rows(b)
        rows_BRS[b, 0, batch.question_start : rows.start] = 1
        rows_BRS[b, 1, rows.start : rows.stop] = 1
    return rows_BRS


def span_loss(nll: list[Tensor], starts: list[int]) -> Tensor:
    """Return the loss (D5, D6): per row the mean NLL of its tokens from `starts` on, summed over the batch.

    A mean over the batch would scale saliency by 1 / batch size.
    """
    return torch.stack([row[start:].mean() for row, start in zip(nll, starts, strict=True)]).sum()


def measure(
    lm: LanguageModel,
    layout: Layout,
    batch: RightPadded,
    vectors: int,
    cuts: list[tuple[int, int]],
    starts: list[int],
    request: Request,
) -> Reduced:
    """Measure saliency on a batch with `vectors` prompt vectors.

    `cuts[b]` are the rationale tokens in the former half by tokens and by steps (D7), `starts[b]` the first token of
    the loss span. Raises DpcError for a model family the tap is not proved for, and where the loss is not finite.
    """
    family = lm.model.config.model_type
    if family not in FAMILIES:
        raise DpcError(f"saliency of model family {family!r} is not supported; expected {', '.join(FAMILIES)}")
    wide = torch.float64 if batch.embeds_BSD.dtype == torch.float64 else torch.float32
    like = torch.empty(0, dtype=wide, device=batch.embeds_BSD.device)
    start = layout.prompt_start()
    recorder = _Recorder(
        request,
        column_groups(batch, cuts, like),
        row_groups(batch, like),
        slice(start, start + vectors),
        lm.model.config.num_hidden_layers,
    )
    recorder.columns_BSG[:, start : start + vectors, 0] = 1
    with _recording(lm, recorder), torch.enable_grad():
        nll = target_nll(lm, batch)
        loss = span_loss(nll, starts)
        if not bool(torch.isfinite(loss)):
            raise DpcError(f"saliency loss is {float(loss)}; expected a finite number: use models.NAME.dtype: float32")
        torch.autograd.grad(loss, [recorder.leaf])
    return Reduced(
        recorder.groups_BLSG,
        recorder.prompt_BLRN,
        recorder.band_BSN,
        tuple(recorder.full_BSS),
        [row.detach() for row in nll],
    )
