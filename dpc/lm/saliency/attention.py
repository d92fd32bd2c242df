"""Attention and its backward pass, one tile of A at a time: any sight, any device, no copy of shared keys or values.

The forward pass keeps each row's log-sum-exp. The backward pass rebuilds A = exp(scores - lse) and makes
dL/dA = dL/dO V^T, as O = A V. From these two come dQ, dK and dV, and what a reader sums up of A and A * dL/dA.
Scores, A and all sums are float32 (float64 for float64 models). Into the other products a bfloat16 model's tiles go as
bfloat16, as in fused kernels and in transformers' eager attention: these products are several times faster.

Axes: B batch, H head, J key-value head, b sequences of a tile, P = b x J, g query heads that share one (H = J x g),
Q query row, K key column, D head width, E = D and one more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ENTRIES = {"cpu": 2**18, "cuda": 2**25}
"""Entries of A (over sequences and heads) in one tile: what a CPU's cache holds, and what keeps a GPU busy."""
LEAST_ROWS = 64
"""Rows of a tile, however long they are: fewer make products slow."""
Given = tuple[Tensor, Tensor]
"""Keys and values (B or 1, J, K, D) of the columns before the rows' own."""


@dataclass(frozen=True)
class Sight:
    """Which columns a row sees, and how its scores are scaled."""

    scale: float
    window: int | None = None
    """Row i sees column j only if i - j < window."""
    softcap: float | None = None
    """Scores are softcap * tanh(scores / softcap) (Gemma 2)."""
    offset: int = 0
    """Column of the first query row: so many columns are given."""
    rows: range | None = None
    """Rows that a loss depends on (all if None): the output of others is 0, and their dL/dO taken for 0."""


@dataclass(frozen=True)
class Tile:
    """Some sequences of a batch, some of their query rows (counted from the first query), and columns of A."""

    sequences: slice
    rows: slice
    columns: slice


Reader = Callable[[Tile, Tensor, Tensor], None]
"""Is shown A and A * dL/dA (b, H, Q, K) of every tile, and must not change them."""


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for softmax and reductions: float64 stays, everything else becomes float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def tile_shape(heads: int, rows: int, columns: int, device: torch.device) -> tuple[int, int]:
    """Return how many sequences, and how many of their rows, make a tile."""
    entries = ENTRIES["cpu" if device.type == "cpu" else "cuda"]
    at_once = max(1, min(rows, max(LEAST_ROWS, entries // (heads * columns))))
    return max(1, entries // (heads * columns * at_once)), at_once


def soften(scores: Tensor, softcap: float) -> Tensor:
    """Cap scores in place."""
    return scores.div_(softcap).tanh_().mul_(softcap)


def hide(scores_PgQK: Tensor, tile: Tile, sight: Sight) -> Tensor:
    """Set scores of later columns, and of columns outside the window, to -inf in place."""
    own, start, stop = tile.rows.start + sight.offset, tile.columns.start, tile.columns.stop
    rows = tile.rows.stop - tile.rows.start
    first = max(own, start)  # columns before the first row's own are seen by all rows
    if stop > own + 1 and stop > first:
        later_QK = scores_PgQK.new_full((rows, stop - first), float("-inf")).triu(1 + own - first)
        scores_PgQK[..., first - start :] += later_QK
    if sight.window is not None and own + rows - 1 - start >= sight.window:
        scores_PgQK += scores_PgQK.new_full((rows, stop - start), float("-inf")).tril(own - start - sight.window)
    return scores_PgQK


def attend(
    query_BHQD: Tensor,
    key_BJKD: Tensor,
    value_BJKD: Tensor,
    sight: Sight,
    given: Given | None = None,
    reader: Reader | None = None,
) -> Tensor:
    """Return attention's output (B, Q, H, D), differentiable in all states; `reader` is called in the backward pass."""
    return Attention.apply(query_BHQD, key_BJKD, value_BJKD, *(given or (None, None)), sight, reader)


class Attention(torch.autograd.Function):
    """Attention as this module describes it."""

    @staticmethod
    def forward(
        ctx: Any,
        query_BHQD: Tensor,
        key_BJKD: Tensor,
        value_BJKD: Tensor,
        given_key: Tensor | None,
        given_value: Tensor | None,
        sight: Sight,
        reader: Reader | None,
    ) -> Tensor:
        """Return the output (B, Q, H, D)."""
        batch, heads, length, width = query_BHQD.shape
        output_BQHD = query_BHQD.new_zeros(batch, length, heads, width)
        lse_BHQ = torch.zeros_like(query_BHQD[..., 0], dtype=wide(query_BHQD.dtype))
        states, rooms = (query_BHQD, key_BJKD, value_BJKD, given_key, given_value), _Rooms()
        for sequences, tiles in _tiles(query_BHQD, sight):
            part = _Part(states, sequences, sight, rooms)
            for tile in tiles:
                found_bHQD, lse_bHQ = part.outputs(tile)
                output_BQHD[sequences, tile.rows] = found_bHQD.transpose(1, 2).to(output_BQHD.dtype)
                lse_BHQ[sequences, :, tile.rows] = lse_bHQ
        ctx.save_for_backward(*states, output_BQHD, lse_BHQ)
        ctx.sight, ctx.reader = sight, reader
        return output_BQHD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        """Return the gradient of each state that needs one."""
        *states, output_BQHD, lse_BHQ = ctx.saved_tensors
        is_wanted, rooms = ctx.needs_input_grad[:5], _Rooms()
        found: list[Tensor | None] = [None] * len(states)
        for place, state in enumerate(states):
            if is_wanted[place]:  # what all sequences are given is summed over them
                found[place] = torch.zeros_like(state, dtype=state.dtype if place < 3 else wide(state.dtype))
        for sequences, tiles in _tiles(states[0], ctx.sight):
            part = _Part(states, sequences, ctx.sight, rooms, lse_BHQ)
            slope = _Slope(part, output_BQHD[sequences], slopes[0][sequences], is_wanted)
            for tile in tiles:
                slope.take(tile, ctx.reader)
            slope.add_to(found, sequences)
        return *(sums if sums is None else sums.to(output_BQHD.dtype) for sums in found), None, None


def _tiles(query_BHQD: Tensor, sight: Sight) -> Iterator[tuple[slice, list[Tile]]]:
    """Yield some sequences and the tiles of their rows, each with every column that its rows see."""
    batch, heads, length, _ = query_BHQD.shape
    rows = range(length) if sight.rows is None else sight.rows
    at_once, step = tile_shape(heads, len(rows), sight.offset + length, query_BHQD.device)
    for start in range(0, batch, at_once):
        sequences = slice(start, min(start + at_once, batch))
        tiles = []
        for first in range(rows.start, rows.stop, step):
            last = min(first + step, rows.stop)
            oldest = 0 if sight.window is None else max(0, first + sight.offset - sight.window + 1)
            tiles.append(Tile(sequences, slice(first, last), slice(oldest, last + sight.offset)))
        yield sequences, tiles


class _Rooms:
    """Room that is used again, by name: fresh memory for each tile costs more than what is done in it."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, torch.dtype], Tensor] = {}

    def room(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return contiguous room; what stood there under that name and dtype is lost."""
        entries = math.prod(shape)
        room = self._rooms.get((name, like.dtype))
        if room is None or len(room) < entries:
            room = self._rooms[name, like.dtype] = like.new_empty(entries)
        return room[:entries].view(*shape)

    def product(self, name: str, left_PgQE: Tensor, right_PKE: Tensor) -> Tensor:
        """Return left @ right^T (P, g, Q, K), wide."""
        product_PgQK = self.room(name, (*left_PgQE.shape[:3], right_PKE.shape[1]), left_PgQE)
        states = left_PgQE.flatten(1, 2), right_PKE.transpose(1, 2), product_PgQK.flatten(1, 2)
        is_copied = right_PKE.dtype == torch.bfloat16 and right_PKE.device.type == "cpu"
        if not is_copied or right_PKE.is_contiguous():
            torch.bmm(*states[:2], out=states[2])
        else:  # some of the columns: such a batch product would copy them for each tile
            for left_RE, right_EK, product_RK in zip(*states, strict=True):
                torch.mm(left_RE, right_EK, out=product_RK)
        return self.cast(name, product_PgQK, wide(product_PgQK.dtype))

    def cast(self, name: str, states: Tensor, dtype: torch.dtype) -> Tensor:
        """Return `states` in `dtype`, themselves where they are."""
        if states.dtype == dtype:
            return states
        return self.room(name, states.shape, states.new_empty(0, dtype=dtype)).copy_(states)


def product_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which tiles go into products: slopes of float16 models would be too small for float16."""
    return dtype if dtype == torch.bfloat16 else wide(dtype)


def by_key_head(states_bHQD: Tensor, shared: int, dtype: torch.dtype) -> Tensor:
    """Return (P, g, Q, D) in `dtype`: query heads beside the key-value head they share; `shared` is J."""
    batch, heads, length, width = states_bHQD.shape
    return states_bHQD.to(dtype).reshape(batch * shared, heads // shared, length, width)


def _columns(given: Tensor | None, own_bJKD: Tensor, sequences: slice, dtype: torch.dtype, more: int = 0) -> Tensor:
    """Return given columns and own ones side by side (P, K, D) in `dtype`, with `more` ones behind each D."""
    parts = [own_bJKD] if given is None else [given if len(given) == 1 else given[sequences], own_bJKD]
    batch, shared, _, width = own_bJKD.shape
    columns = sum(part.shape[2] for part in parts)
    room_bJKE = own_bJKD.new_ones(batch, shared, columns, width + more, dtype=dtype)
    start = 0
    for part_bJKD in parts:
        room_bJKE[:, :, start : start + part_bJKD.shape[2], :width] = part_bJKD
        start += part_bJKD.shape[2]
    return room_bJKE.flatten(0, 1)


class _Part:
    """Some sequences of a batch: their scores and A, one tile at a time."""

    def __init__(
        self,
        states: Sequence[Any],
        sequences: slice,
        sight: Sight,
        rooms: _Rooms,
        lse_BHQ: Tensor | None = None,
    ):
        query_BHQD, key_BJKD, value_BJKD, given_key, given_value = states
        self.sight, self.rooms, self.shared = sight, rooms, key_BJKD.shape[1]
        self.dtype, exact = product_dtype(query_BHQD.dtype), wide(query_BHQD.dtype)
        self.key_PKE = _columns(given_key, key_BJKD[sequences], sequences, exact, more=1)
        self.key_PKD = self.key_PKE[..., :-1].to(self.dtype)
        self.value_PKD = _columns(given_value, value_BJKD[sequences], sequences, self.dtype)
        self.query_PgQD = by_key_head(query_BHQD[sequences], self.shared, self.dtype)
        self.query_PgQE = torch.nn.functional.pad(self.query_PgQD.to(exact) * sight.scale, (0, 1))
        if lse_BHQ is not None:
            self.lse_PgQ1 = by_key_head(lse_BHQ[sequences, ..., None], self.shared, exact)
            if sight.softcap is None:  # the product then subtracts it on its way
                torch.neg(self.lse_PgQ1, out=self.query_PgQE[..., -1:])

    def _scores(self, tile: Tile) -> Tensor:
        scores_PgQK = self.rooms.product("A", self.query_PgQE[:, :, tile.rows], self.key_PKE[:, tile.columns])
        if self.sight.softcap is not None:
            soften(scores_PgQK, self.sight.softcap)
        return scores_PgQK

    def outputs(self, tile: Tile) -> tuple[Tensor, Tensor]:
        """Return the output (b, H, Q, D) and the log-sum-exp (b, H, Q) of a tile's rows."""
        scores_PgQK = hide(self._scores(tile), tile, self.sight)
        largest_PgQ1 = scores_PgQK.amax(-1, keepdim=True)
        sum_PgQ1 = scores_PgQK.sub_(largest_PgQ1).exp_().sum(-1, keepdim=True)
        weights_PgQK = self.rooms.cast("weights", scores_PgQK, self.dtype)
        output_PRD = torch.bmm(weights_PgQK.flatten(1, 2), self.value_PKD[:, tile.columns])
        output_PgQD = output_PRD.view(*scores_PgQK.shape[:3], -1) / sum_PgQ1
        return self.by_head(output_PgQD), self.by_head(largest_PgQ1 + sum_PgQ1.log())[..., 0]

    def probabilities(self, tile: Tile) -> tuple[Tensor, Tensor | None]:
        """Return A (P, g, Q, K), and what a soft cap does to the slope of a score; good until the next call."""
        scores_PgQK, capping_PgQK = self._scores(tile), None
        if self.sight.softcap is not None:  # d capped / d score = 1 - (capped / softcap)^2
            capping_PgQK = (scores_PgQK / self.sight.softcap).square_().neg_().add_(1)
            scores_PgQK.sub_(self.lse_PgQ1[:, :, tile.rows])
        return hide(scores_PgQK, tile, self.sight).exp_(), capping_PgQK

    def by_head(self, states_PgQX: Tensor) -> Tensor:
        """Return (b, H, Q, X)."""
        return states_PgQX.reshape(-1, self.shared * states_PgQX.shape[1], *states_PgQX.shape[2:])


class _Slope:
    """dL/dQ, dL/dK and dL/dV of some sequences, added up tile by tile: dL/dscore = A * (dL/dA - sum of dO * O)."""

    def __init__(self, part: _Part, output_bQHD: Tensor, slope_bQHD: Tensor, is_wanted: Sequence[bool]):
        self.part, self.is_wanted = part, is_wanted
        self.slope_PgQD = by_key_head(slope_bQHD.transpose(1, 2), part.shared, part.dtype)
        exact = part.key_PKE.dtype
        output_PgQD = by_key_head(output_bQHD.transpose(1, 2), part.shared, exact)
        self.less_PgQ1 = -torch.linalg.vecdot(self.slope_PgQD.to(exact), output_PgQD)[..., None]
        self.first = 0 if is_wanted[3] else part.sight.offset
        """The first column whose key and value need a gradient."""
        self.to_query_PgQD = torch.zeros_like(output_PgQD)
        self.to_key_PKD = torch.zeros_like(part.key_PKE[:, self.first :, :-1])
        self.to_value_PKD = torch.zeros_like(self.to_key_PKD)

    def take(self, tile: Tile, reader: Reader | None) -> None:
        """Add what goes through a tile, and show it to `reader`."""
        part, rows = self.part, tile.rows
        a_PgQK, capping_PgQK = part.probabilities(tile)
        slope_PgQD = self.slope_PgQD[:, :, rows]
        if self.is_wanted[2] or self.is_wanted[4]:
            self._add_columns(self.to_value_PKD, part.rooms.cast("weights", a_PgQK, part.dtype), slope_PgQD, tile)
        signed_PgQK = part.rooms.product("slope", slope_PgQD, part.value_PKD[:, tile.columns]).mul_(a_PgQK)
        if reader is not None:
            reader(tile, part.by_head(a_PgQK), part.by_head(signed_PgQK))
        to_scores_PgQK = torch.addcmul(signed_PgQK, a_PgQK, self.less_PgQ1[:, :, rows], out=a_PgQK)
        if capping_PgQK is not None:
            to_scores_PgQK.mul_(capping_PgQK)
        to_scores_PgQK = part.rooms.cast("weights", to_scores_PgQK, part.dtype)
        if self.is_wanted[0]:
            to_query_PRD = torch.bmm(to_scores_PgQK.flatten(1, 2), part.key_PKD[:, tile.columns])
            self.to_query_PgQD[:, :, rows] = to_query_PRD.view(slope_PgQD.shape)
        if self.is_wanted[1] or self.is_wanted[3]:
            self._add_columns(self.to_key_PKD, to_scores_PgQK, part.query_PgQD[:, :, rows], tile)

    def _add_columns(self, sums_PKD: Tensor, weights_PgQK: Tensor, states_PgQD: Tensor, tile: Tile) -> None:
        """Add weights^T @ states to the columns of a tile that need a gradient."""
        start, stop = max(tile.columns.start, self.first), tile.columns.stop
        weights_PKR = weights_PgQK.flatten(1, 2)[..., start - tile.columns.start :].transpose(1, 2)
        columns_PKD = sums_PKD[:, start - self.first : stop - self.first]
        if weights_PKR.dtype == columns_PKD.dtype:
            columns_PKD.baddbmm_(weights_PKR, states_PgQD.flatten(1, 2))
        else:
            added_PKD = self.part.rooms.room("columns", columns_PKD.shape, states_PgQD)
            columns_PKD += torch.bmm(weights_PKR, states_PgQD.flatten(1, 2), out=added_PKD)

    def add_to(self, found: Sequence[Tensor | None], sequences: slice) -> None:
        """Add what was added up to the gradients of the states, in their order."""
        query_BHQD, *columns = found
        if query_BHQD is not None:
            query_BHQD[sequences] = self.part.by_head(self.to_query_PgQD * self.part.sight.scale).to(query_BHQD)
        self.to_key_PKD *= self.part.sight.scale
        given = self.part.sight.offset - self.first
        for own_BJKD, before_BJKD, sums_PKD in zip(
            columns[:2], columns[2:], (self.to_key_PKD, self.to_value_PKD), strict=True
        ):
            sums_bJKD = sums_PKD.unflatten(0, (-1, self.part.shared))
            if own_BJKD is not None:
                own_BJKD[sequences] = sums_bJKD[:, :, given:].to(own_BJKD)
            if before_BJKD is not None and len(before_BJKD) == 1:
                before_BJKD += sums_bJKD[:, :, :given].sum(0, keepdim=True).to(before_BJKD)
            elif before_BJKD is not None:
                before_BJKD[sequences] = sums_bJKD[:, :, :given].to(before_BJKD)
