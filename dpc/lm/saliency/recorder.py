"""What is kept of saliency: rectangles of A * dL/dA come in, sums over groups of rows and columns stay.

Axes: B batch, L layer, H head, h heads kept (1, or H for `per_head`), S position, Q query row, K key column, N prompt
vector, G group of columns, R group of rows, D head width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from dpc.lm.layout import RightPadded
from dpc.lm.saliency.attention import (
    Given,
    Probabilities,
    Rectangle,
    Scratch,
    Sight,
    goes_on,
    tile_rows,
    tiles,
    visible,
    wide,
)

GROUPS = ("prompt", "question", "rationale", "former_tokens", "former_steps")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure and keep, and how."""

    head_reduce: Literal["abs_mean", "sum_abs", "per_head"] = "abs_mean"
    """`abs_mean`: mean over heads of |A * dL/dA| (DPC); `sum_abs`: |mean over heads of A * dL/dA|; `per_head`: each."""
    layers: range | None = None
    """Layers measured; None is all. Nothing below the first is differentiated."""
    rows: Literal["all", "rationale"] = "all"
    """`rationale`: only rows that predict rationale tokens, on a graph that begins with them: exact, and cheaper."""
    band: range = range(0)
    """Layers whose rows x prompt columns are summed."""
    full: tuple[range, ...] = ()
    """Bands of layers whose full S x S mean is kept; for single instances only."""
    checkpoint: bool = False
    """Keep each layer's input only and compute the rest again in the backward pass: less memory, a third more time."""


@dataclass(frozen=True)
class Reduced:
    """Saliency of a batch, reduced. float64 for float64 models, else float32. Layers not measured hold 0."""

    groups_BLhSG: Tensor
    """Sums over column groups (GROUPS), the row's own column left out; rows that predict rationale tokens only."""
    prompt_BLhRN: Tensor
    """Sums over row groups (question rows, rationale rows) for each prompt column; question: nan for `rationale`."""
    band_BhSN: Tensor
    """Rows x prompt columns, summed over the layers of `Request.band`."""
    full_BhSS: tuple[Tensor, ...]
    """Full maps, one per band of `Request.full`, mean over the band's layers."""
    nll: list[Tensor]
    """Per row of the batch, the NLL in nats of every rationale token."""
    entropy: list[Tensor]
    """Per row of the batch, the entropy in nats of the distribution that every rationale token was chosen from."""
    attention_BLS: Tensor
    """Plain attention A to the prompt: sum over its columns, mean over heads; rows measured only."""
    attention_BLRN: Tensor
    """The same summed over row groups for each prompt column; question: nan for `rationale`."""


class Recorder:
    """Takes dL/dO from the backward pass, layer by layer, and adds up what is asked for."""

    def __init__(
        self, request: Request, batch: RightPadded, prompt: slice, cuts: list[tuple[int, int]], layers: int, heads: int
    ):
        self.request, self.prompt, self.heads = request, prompt, heads
        self.layers = range(layers) if request.layers is None else request.layers
        rows = [batch.predicting_rows(b) for b in range(len(batch.rationale_ids))]
        self.question_start = batch.question_start
        self.first_row, self.end = min(r.start for r in rows), max(r.stop for r in rows)
        self.device = batch.embeds_BSD.device
        """Where sums are kept: a model's layers may lie on several cards."""
        self.graph_start = self._graph_start(self.device)
        """The first row of the graph: the rows before it are given."""
        new = torch.empty(0, dtype=wide(batch.embeds_BSD.dtype), device=self.device).new_zeros
        size, length = batch.embeds_BSD.shape[:2]
        kept, vectors = heads if request.head_reduce == "per_head" else 1, prompt.stop - prompt.start
        self.columns_BSG = _column_groups(batch, prompt, cuts, new(size, length, len(GROUPS)))
        self.rows_BRS = _row_groups(batch, new(size, 2, length))
        self.groups_BLhSG = new(size, layers, kept, length, len(GROUPS))
        self.prompt_BLhRN = new(size, layers, kept, 2, vectors)
        self.band_BhSN = new(size, kept, length, vectors)
        self.attention_BLS, self.attention_BLRN = new(size, layers, length), new(size, layers, 2, vectors)
        self.full_BhSS = tuple(new(size, kept, length, length) for _ in request.full)
        self.leaf = new(())
        """The first measured attention output: where the graph begins."""
        self.is_recording = True
        self.given: Sequence[Given] = ()
        """Per layer, what goes before the graph; empty where nothing does."""
        self._scratch = Scratch()
        self._masks: dict[tuple[int, int, int | None, torch.device], Tensor] = {}

    def _graph_start(self, device: torch.device) -> int:
        """Only full maps show the prompt's rows; a GPU's fused attention knows no given columns, so it begins at 0."""
        if self.request.rows == "rationale":
            return self.first_row
        is_spared = not self.request.full and device.type == "cpu"
        return self.question_start if is_spared else 0

    def idle(self, layer: int) -> int:
        """Return how many rows of the graph, counted from its first, no loss depends on: in the last layer only."""
        is_last = layer == self.groups_BLhSG.shape[1] - 1
        return self.first_row - self.graph_start if is_last else 0

    def mask(self, rows: int, columns: int, sight: Sight, like: Tensor) -> Tensor | None:
        """Return the additive mask that attention needs beyond being causal; one for all layers of a card."""
        if sight.window is None and (sight.offset == 0 or goes_on(like.device, sight)):
            return None
        key = (rows, columns, sight.window, like.device)
        if key not in self._masks:
            self._masks[key] = visible(rows, columns, sight, like)
        return self._masks[key]

    @torch.no_grad()
    def take(self, layer: int, sight: Sight, saved: tuple[Tensor, ...], slope_BHQD: Tensor) -> None:
        """Reduce |A * dL/dA| of one layer from its queries, keys, values, log-sum-exp and dL/dO (`slope`)."""
        self.gather(layer, sight.offset, self._pieces(layer, sight, saved, slope_BHQD))

    def _pieces(
        self, layer: int, sight: Sight, saved: tuple[Tensor, ...], slope_BHQD: Tensor
    ) -> Iterator[tuple[Rectangle, Tensor, Tensor]]:
        """Yield rectangles with A and A * dL/dA on them, the latter over the number of heads unless all are kept."""
        query_BHQD, *own_BJKD, lse_BHQ = saved
        batch, heads, shared = *query_BHQD.shape[:2], own_BJKD[0].shape[1]
        keys, values = zip(self.given[layer], own_BJKD, strict=True) if self.given else ((own,) for own in own_BJKD)
        probabilities = Probabilities(query_BHQD, keys, lse_BHQ, sight, self._scratch)
        share = 1 if self.request.head_reduce == "per_head" else 1 / heads
        slope_PgQD = self._scratch.rows("dL/dO", slope_BHQD, shared, share)
        value_PDK = self._scratch.columns("value", values)
        columns = value_PDK.shape[2]
        for rectangle in self._rectangles(batch * heads, columns, sight, query_BHQD.device):
            slope_PgQK = self._scratch.product("slope", slope_PgQD, value_PDK, rectangle)
            a_PgQK = probabilities.on(rectangle)
            signed_PgQK = slope_PgQK.mul_(a_PgQK)
            shape = (batch, heads, *a_PgQK.shape[2:])
            yield rectangle, a_PgQK.view(shape), signed_PgQK.view(shape)

    def _rectangles(self, heads: int, columns: int, sight: Sight, device: torch.device) -> Iterator[Rectangle]:
        """Yield prompt columns only where nothing else is kept, and tiles of every column elsewhere."""
        first = 0 if self.request.full else self.first_row - sight.offset
        step = tile_rows(heads, self.prompt.stop - self.prompt.start, device)
        for start in range(self.question_start - sight.offset, first, step) if self.request.rows == "all" else ():
            yield Rectangle(slice(start, min(start + step, first)), self.prompt)
        yield from tiles(range(first, self.end - sight.offset), tile_rows(heads, columns, device), sight)

    def gather(self, layer: int, offset: int, pieces: Iterable[tuple[Rectangle, Tensor, Tensor]]) -> None:
        """Reduce one layer from rectangles of A and A * dL/dA (B, H, Q, K), the latter overwritten.

        The rows of a rectangle are counted from `offset`, the first row of the graph.
        """
        flow_BhSN = torch.zeros_like(self.band_BhSN)
        attention_BSN = torch.zeros_like(flow_BhSN[:, 0])
        for rectangle, a_BHQK, signed_BHQK in pieces:
            rows = slice(rectangle.rows.start + offset, rectangle.rows.stop + offset)
            within, vectors = self._prompt_in(rectangle)
            attention_BSN[:, rows, vectors] = a_BHQK[..., within].mean(1)
            tile_BhQK = self._over_heads(signed_BHQK)
            self._add(layer, rows, rectangle.columns, tile_BhQK)
            flow_BhSN[:, :, rows, vectors] = tile_BhQK[..., within]
        self.attention_BLS[:, layer] = attention_BSN.sum(-1)
        self.attention_BLRN[:, layer] = self.rows_BRS @ attention_BSN
        self.prompt_BLhRN[:, layer] = self.rows_BRS[:, None] @ flow_BhSN
        if layer in self.request.band:
            self.band_BhSN += flow_BhSN

    def _prompt_in(self, rectangle: Rectangle) -> tuple[slice, slice]:
        """Return the prompt's columns within a rectangle, and which vectors they are; empty where there are none."""
        first = max(self.prompt.start, rectangle.columns.start)
        last = max(first, min(self.prompt.stop, rectangle.columns.stop))
        start = rectangle.columns.start
        return slice(first - start, last - start), slice(first - self.prompt.start, last - self.prompt.start)

    def _add(self, layer: int, rows: slice, columns: slice, tile_BhQK: Tensor) -> None:
        """Add a tile to full maps and, if it holds every column, to column groups, its diagonal then set to 0."""
        for full_BhSS, layers in zip(self.full_BhSS, self.request.full, strict=True):
            if layer in layers:
                full_BhSS[:, :, rows, columns] += (tile_BhQK / len(layers)).to(self.device)
        if columns.stop == rows.stop:
            tile_BhQK.diagonal(rows.start - columns.start, 2, 3).zero_()  # its own column is no flow between tokens
            groups_BSG = self.columns_BSG.to(tile_BhQK.device)
            self.groups_BLhSG[:, layer, :, rows] = tile_BhQK @ groups_BSG[:, None, columns]

    def _over_heads(self, signed_BHQK: Tensor) -> Tensor:
        if self.request.head_reduce == "per_head":
            return signed_BHQK.abs_()
        if self.request.head_reduce == "sum_abs":
            return signed_BHQK.sum(1, keepdim=True).abs_()
        return signed_BHQK.abs_().sum(1, keepdim=True)

    def reduced(self, nll: list[Tensor], entropy: list[Tensor]) -> Reduced:
        """Return what was added up."""
        if self.request.rows == "rationale":
            self.prompt_BLhRN[:, :, :, 0] = self.attention_BLRN[:, :, 0] = float("nan")
        return Reduced(
            groups_BLhSG=self.groups_BLhSG,
            prompt_BLhRN=self.prompt_BLhRN,
            band_BhSN=self.band_BhSN,
            full_BhSS=self.full_BhSS,
            nll=[row.detach() for row in nll],
            entropy=entropy,
            attention_BLS=self.attention_BLS,
            attention_BLRN=self.attention_BLRN,
        )


def _column_groups(batch: RightPadded, prompt: slice, cuts: list[tuple[int, int]], empty_BSG: Tensor) -> Tensor:
    """Return indicators (B, S, G) of the columns in each of GROUPS; `cuts` are the two former lengths of each row."""
    empty_BSG[:, prompt, 0] = 1
    for b, (rationale, (tokens, steps)) in enumerate(zip(batch.rationale_ids, cuts, strict=True)):
        start = batch.question_start + batch.question_tokens[b]
        empty_BSG[b, batch.question_start : start, 1] = 1
        for group, count in ((2, len(rationale)), (3, tokens), (4, steps)):
            empty_BSG[b, start : start + count, group] = 1
    return empty_BSG


def _row_groups(batch: RightPadded, empty_BRS: Tensor) -> Tensor:
    """Return indicators (B, R, S) of question rows and rationale rows.

    The last question row predicts the first rationale token and counts as its row (D8); the last rationale token
    predicts nothing and is in neither.
    """
    for b in range(len(batch.rationale_ids)):
        rows = batch.predicting_rows(b)
        empty_BRS[b, 0, batch.question_start : rows.start] = 1
        empty_BRS[b, 1, rows.start : rows.stop] = 1
    return empty_BRS
