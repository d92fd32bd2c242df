"""What is stored of saliency: sums over groups of rows and columns of tiles of A * dL/dA.

Axes: B batch, b sequences of a tile, L layer, H head, S position, Q query row, K key column, N prompt vector, G group
of columns, R group of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from dpc.lm.clock import Clock
from dpc.lm.finite import check_finite
from dpc.lm.layout import RightPadded
from dpc.lm.saliency.attention import Given, Tile, wide
from dpc.lm.saliency.tiled import Passage

GROUPS = ("prompt", "question", "rationale", "former_tokens", "former_steps")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to measure and keep, and how."""

    head_reduce: Literal["abs_mean", "sum_abs"] = "abs_mean"
    """`abs_mean`: mean over heads of |A * dL/dA| (DPC); `sum_abs`: |mean over heads of A * dL/dA|."""
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

    groups_BLSG: Tensor
    """Sums over column groups (GROUPS), the row's own column left out; rows that predict rationale tokens only."""
    prompt_BLRN: Tensor
    """Sums over row groups (question rows, rationale rows) for each prompt column; question: nan for `rationale`."""
    band_BSN: Tensor
    """Rows x prompt columns, summed over the layers of `Request.band`."""
    full_BSS: tuple[Tensor, ...]
    """Full maps, one per band of `Request.full`, mean over the band's layers."""
    nll: list[Tensor]
    """Per row of the batch, the NLL in nats of every rationale token."""
    entropy: list[Tensor]
    """Per row of the batch, the entropy in nats of the distribution that every rationale token was chosen from."""
    attention_BLS: Tensor
    """Plain attention A to the prompt: sum over its columns, mean over heads; rows measured only."""
    attention_BLRN: Tensor
    """The same summed over row groups for each prompt column; question: nan for `rationale`."""
    seconds_BL: Tensor
    """A row's share of the seconds from the beginning to the end of a layer's reading, the last layer's first."""

    @classmethod
    def joined(cls, parts: Sequence[Reduced]) -> Reduced:
        """Return the parts of one batch, one behind the other."""
        tensors = ("groups_BLSG", "prompt_BLRN", "band_BSN", "attention_BLS", "attention_BLRN", "seconds_BL")
        found: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in tensors}
        found["full_BSS"] = tuple(torch.cat(maps) for maps in zip(*(part.full_BSS for part in parts), strict=True))
        for name in ("nll", "entropy"):
            found[name] = [row for part in parts for row in getattr(part, name)]
        return cls(**found)


class Recorder:
    """Reads tiles of attention from the backward pass, layer by layer, and adds up what is asked for."""

    def __init__(
        self, request: Request, batch: RightPadded, prompt: slice, cuts: list[tuple[int, int]], layers: int, heads: int
    ):
        self.request, self.prompt, self.heads = request, prompt, heads
        self.layers = range(layers) if request.layers is None else request.layers
        rows = [batch.predicting_rows(b) for b in range(len(batch.rationale_ids))]
        self.first_row, self.end = min(r.start for r in rows), max(r.stop for r in rows)
        self.graph_start = self._graph_start(batch.question_start)
        """The first row of the graph: the rows before it are given."""
        self.device = batch.embeds_BSD.device
        """Where sums are kept: a model's layers may lie on several cards."""
        new = torch.empty(0, dtype=wide(batch.embeds_BSD.dtype), device=self.device).new_zeros
        size, length = batch.embeds_BSD.shape[:2]
        vectors = prompt.stop - prompt.start
        self.columns_BSG = _column_groups(batch, prompt, cuts, new(size, length, len(GROUPS)))
        self.rows_BRS = _row_groups(batch, new(size, 2, length))
        self.groups_BLSG = new(size, layers, length, len(GROUPS))
        self.prompt_BLRN = new(size, layers, 2, vectors)
        self.band_BSN = new(size, length, vectors)
        self.attention_BLS, self.attention_BLRN = new(size, layers, length), new(size, layers, 2, vectors)
        self.full_BSS = tuple(new(size, length, length) for _ in request.full)
        self.leaf = new(())
        """The first measured layer's queries: where the graph begins."""
        self.clock, self.marks = Clock(self.device), dict[int, Any]()
        self.given: Sequence[Given] = ()
        """Per layer, what goes before the graph; empty where nothing does."""

    def _graph_start(self, question_start: int) -> int:
        """Only full maps show the prompt's rows."""
        if self.request.rows == "rationale":
            return self.first_row
        return 0 if self.request.full else question_start

    def passage(self, layer: int) -> Passage:
        """Return what a layer's attention is told."""
        return Passage(
            given=self.given[layer] if self.given else None,
            rows=range(self.end - self.graph_start),
            reader=partial(self.read, layer) if layer in self.layers else None,
            begin=self._begin if layer == self.layers.start else None,
        )

    def _begin(self, query_BHQD: Tensor) -> Tensor:
        """Begin the graph here: nothing below the first measured layer has to be differentiated."""
        self.leaf = query_BHQD.detach().requires_grad_(True)
        return self.leaf

    @torch.no_grad()
    def read(self, layer: int, tile: Tile, a_bHQK: Tensor, signed_bHQK: Tensor) -> None:
        """Add up a tile of A and A * dL/dA (b, H, Q, K); its rows are counted from the first row of the graph."""
        b, rows = tile.sequences, slice(tile.rows.start + self.graph_start, tile.rows.stop + self.graph_start)
        within, vectors = self._prompt_in(tile.columns)
        flow_bQN = self._over_heads(signed_bHQK[..., within])
        attention_bQN = a_bHQK[..., within].mean(1).to(self.device)
        groups_bRQ = self.rows_BRS[b, :, rows]
        self.prompt_BLRN[b, layer, ..., vectors] += groups_bRQ @ flow_bQN
        self.attention_BLS[b, layer, rows] = attention_bQN.sum(-1)
        self.attention_BLRN[b, layer, :, vectors] += groups_bRQ @ attention_bQN
        if layer in self.request.band:
            self.band_BSN[b, rows, vectors] += flow_bQN
        self._add_whole_rows(layer, tile, rows, signed_bHQK)
        self.marks[layer] = self.clock.mark()

    def _prompt_in(self, columns: slice) -> tuple[slice, slice]:
        """Return the prompt's columns among `columns`, and which vectors they are; empty where there are none."""
        first = max(self.prompt.start, columns.start)
        last = max(first, min(self.prompt.stop, columns.stop))
        start = columns.start
        return slice(first - start, last - start), slice(first - self.prompt.start, last - self.prompt.start)

    def _add_whole_rows(self, layer: int, tile: Tile, rows: slice, signed_bHQK: Tensor) -> None:
        """Add the rows that predict rationale tokens to column groups, and all rows to full maps."""
        early = 0 if self.request.full else max(0, self.first_row - rows.start)
        if early >= rows.stop - rows.start:
            return
        rows, columns, b = slice(rows.start + early, rows.stop), tile.columns, tile.sequences
        tile_bQK = self._over_heads(signed_bHQK[:, :, early:])
        for full_BSS, layers in zip(self.full_BSS, self.request.full, strict=True):
            if layer in layers:
                full_BSS[b, rows, columns] += tile_bQK / len(layers)
        tile_bQK.diagonal(rows.start - columns.start, 1, 2).zero_()  # its own column is no flow between tokens
        self.groups_BLSG[b, layer, rows] = tile_bQK @ self.columns_BSG[b, columns]

    def _over_heads(self, signed_bHQK: Tensor) -> Tensor:
        """Reduce heads (b, H, Q, K); a mean is taken of sums, as there are fewer of them."""
        has_sign = self.request.head_reduce == "sum_abs"
        sum_bQK = signed_bHQK.sum(1).abs_() if has_sign else signed_bHQK.abs().sum(1)
        return sum_bQK.div_(self.heads).to(self.device)

    def reduced(self, nll: list[Tensor], entropy: list[Tensor]) -> Reduced:
        """Return what was added up. Raises DpcError where that is not finite."""
        for sums in (self.groups_BLSG, self.prompt_BLRN, self.band_BSN, self.attention_BLS, *self.full_BSS):
            check_finite(sums, "saliency")
        if self.request.rows == "rationale":
            self.prompt_BLRN[:, :, 0] = self.attention_BLRN[:, :, 0] = float("nan")
        return Reduced(
            groups_BLSG=self.groups_BLSG,
            prompt_BLRN=self.prompt_BLRN,
            band_BSN=self.band_BSN,
            full_BSS=self.full_BSS,
            nll=[row.detach() for row in nll],
            entropy=entropy,
            attention_BLS=self.attention_BLS,
            attention_BLRN=self.attention_BLRN,
            seconds_BL=self._seconds(),
        )

    def _seconds(self) -> Tensor:
        size, layers = self.attention_BLS.shape[:2]
        seconds_L = torch.zeros(layers)
        for layer, mark in self.marks.items():
            seconds_L[layer] = self.clock.seconds(mark)
        return (seconds_L / size).expand(size, layers)


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
