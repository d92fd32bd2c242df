"""Attention that tells its log-sum-exp, and its probabilities rebuilt from that, one rectangle of A at a time.

Axes: B batch, H head, J key-value head, P = B x J, g query heads that share one (H = J x g), Q query row, K key column,
D head width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_CPU_TILE, _CUDA_TILE = 2**20, 2**25
"""Entries of A (over batch and heads) in one tile: what a CPU's cache holds, and what keeps a GPU busy."""
_FLASH_DTYPES = (torch.bfloat16, torch.float16)
Given = tuple[Tensor, Tensor]
"""Keys and values (B or 1, J, K, D) of the columns before the rows' own; nothing is differentiated there."""


@dataclass(frozen=True)
class Sight:
    """Which columns a row sees, and how its scores are scaled."""

    scale: float
    window: int | None = None
    """Row i sees column j only if i - j < window."""
    softcap: float | None = None
    """Scores are softcap * tanh(scores / softcap) (Gemma 2)."""
    offset: int = 0
    """Column of the first query row: rows before it have keys and values, but no queries."""
    idle: int = 0
    """So many rows at the front have an output that no loss depends on (on their keys and values it may)."""


@dataclass(frozen=True)
class Rectangle:
    """Some query rows (counted from the first query) and columns of A."""

    rows: slice
    columns: slice


def wide(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype for softmax and reductions: float64 stays, everything else becomes float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def tile_rows(heads: int, columns: int, device: torch.device) -> int:
    """Return how many rows make a tile, with `heads` counted over the batch."""
    entries = _CUDA_TILE if device.type == "cuda" else _CPU_TILE
    return max(32, entries // max(heads * columns, 1))


def tiles(rows: range, step: int, sight: Sight) -> Iterator[Rectangle]:
    """Yield rectangles of at most `step` rows that hold every column their rows see."""
    for first in range(rows.start, rows.stop, step):
        last = min(first + step, rows.stop)
        start = 0 if sight.window is None else max(0, first + sight.offset - sight.window + 1)
        yield Rectangle(slice(first, last), slice(start, last + sight.offset))


def by_key_head(states_BHQD: Tensor, shared: int) -> Tensor:
    """Return (P, g, Q, D): query heads beside the key-value head they share; `shared` is J."""
    batch, heads, length, width = states_BHQD.shape
    return states_BHQD.reshape(batch * shared, heads // shared, length, width)


class Scratch:
    """Room that is used again, by name: fresh memory for each layer and tile costs more than what is done in it."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, torch.device], Tensor] = {}

    def room(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return contiguous room, nothing written yet; what stood there under that name is lost."""
        entries = math.prod(shape)
        room = self._rooms.get((name, like.device))
        if room is None or len(room) < entries or room.dtype != like.dtype:
            room = self._rooms[name, like.device] = like.new_empty(entries)
        return room[:entries].view(shape)

    def product(self, name: str, left_PgQD: Tensor, right_PDK: Tensor, rectangle: Rectangle) -> Tensor:
        """Return left @ right (P, g, Q, K) on a rectangle; good until the next product of that name."""
        left_PgQD, right_PDK = left_PgQD[:, :, rectangle.rows], right_PDK[:, :, rectangle.columns]
        shape = (*left_PgQD.shape[:3], right_PDK.shape[2])
        product_PgQK = self.room(name, shape, left_PgQD)
        torch.bmm(left_PgQD.flatten(1, 2), right_PDK, out=product_PgQK.flatten(1, 2))
        return product_PgQK

    def rows(self, name: str, states_BHQD: Tensor, shared: int, factor: float, more: int = 0) -> Tensor:
        """Return states * factor by key head (P, g, Q, D), contiguous, with `more` unwritten entries after each D."""
        states_PgQD = by_key_head(states_BHQD.to(wide(states_BHQD.dtype)), shared)
        *shape, width = states_PgQD.shape
        room = self.room(name, (*shape, width + more), states_PgQD)
        torch.mul(states_PgQD, factor, out=room[..., :width])
        return room

    def columns(self, name: str, parts_BJKD: Sequence[Tensor], more: int = 0) -> Tensor:
        """Return the parts side by side (P, D, K), contiguous, with `more` rows of ones after the D of each.

        The last part says the batch; one that is the same for all of it may come once. A product with the result takes
        half the time of one with a transposed view; and a product with the identity, which is exact, transposes faster
        than torch's copy does.
        """
        batch, shared, _, width = parts_BJKD[-1].shape
        dtype, device = wide(parts_BJKD[-1].dtype), parts_BJKD[-1].device
        identity_DD = torch.eye(width + more, width, dtype=dtype, device=device)
        room = self.room(name, (batch * shared, width + more, sum(part.shape[2] for part in parts_BJKD)), identity_DD)
        start = 0
        for part_BJKD in parts_BJKD:
            states_PKD = part_BJKD.to(dtype).expand(batch, -1, -1, -1).flatten(0, 1)
            own = room[:, :, start : start + part_BJKD.shape[2]]
            torch.bmm(identity_DD.expand(len(room), -1, -1), states_PKD.transpose(1, 2), out=own)
            start += part_BJKD.shape[2]
        room[:, width:].fill_(1)
        return room


class Probabilities:
    """A = exp(scores - lse), rebuilt where it is asked for; one at a time in a `Scratch`."""

    def __init__(
        self, query_BHQD: Tensor, keys_BJKD: Sequence[Tensor], lse_BHQ: Tensor, sight: Sight, scratch: Scratch
    ):
        """`keys_BJKD` are the columns in parts, as in `Scratch.columns`."""
        self.sight, self.scratch = sight, scratch
        shared, more = keys_BJKD[-1].shape[1], int(sight.softcap is None)
        self.lse_PgQ1 = by_key_head(lse_BHQ.to(wide(query_BHQD.dtype))[..., None], shared)
        self.query_PgQD = scratch.rows("query", query_BHQD, shared, sight.scale, more)
        self.key_PDK = scratch.columns("key", keys_BJKD, more)
        if more:  # the product then subtracts lse on its way
            torch.neg(self.lse_PgQ1, out=self.query_PgQD[..., -1:])

    def on(self, rectangle: Rectangle) -> Tensor:
        """Return A (P, g, Q, K) on a rectangle; good until the next call."""
        logs_PgQK = self.scratch.product("A", self.query_PgQD, self.key_PDK, rectangle)
        if self.sight.softcap is not None:
            soften(logs_PgQK, self.sight.softcap).sub_(self.lse_PgQ1[:, :, rectangle.rows])
        return hide(logs_PgQK, rectangle, self.sight).exp_()


def soften(scores: Tensor, softcap: float) -> Tensor:
    """Cap scores in place."""
    return scores.div_(softcap).tanh_().mul_(softcap)


def hide(scores_PgQK: Tensor, rectangle: Rectangle, sight: Sight) -> Tensor:
    """Set scores of later columns, and of columns outside the window, to -inf in place."""
    own, start, stop = rectangle.rows.start + sight.offset, rectangle.columns.start, rectangle.columns.stop
    rows = rectangle.rows.stop - rectangle.rows.start
    first = max(own, start)  # columns before the first row's own are seen by all rows
    if stop > own + 1 and stop > first:
        later_QK = scores_PgQK.new_full((rows, stop - first), float("-inf")).triu(1 + own - first)
        scores_PgQK[..., first - start :] += later_QK
    if sight.window is not None and own + rows - 1 - start >= sight.window:
        scores_PgQK += scores_PgQK.new_full((rows, stop - start), float("-inf")).tril(own - start - sight.window)
    return scores_PgQK


def visible(rows: int, columns: int, sight: Sight, like: Tensor) -> Tensor:
    """Return the additive mask (Q, K): 0 where a row sees a column, else -inf."""
    return hide(like.new_zeros(rows, columns), Rectangle(slice(0, rows), slice(0, columns)), sight)


def attend(
    query_BHQD: Tensor,
    key_BJKD: Tensor,
    value_BJKD: Tensor,
    sight: Sight,
    mask_QK: Tensor | None,
    given: Given | None = None,
) -> tuple[Tensor, Tensor]:
    """Return attention's output (B, H, Q, D) and the log-sum-exp of each row's scores (B, H, Q); differentiable.

    `given` are the columns before `key_BJKD`, if there are any. `mask_QK` is the additive mask of `visible`, or None
    where plain causal attention is meant. Fused kernels are used where torch has one that tells its log-sum-exp;
    elsewhere the same thing is done tile by tile.
    """
    is_plain = sight.softcap is None
    if given is not None:
        if goes_on(query_BHQD.device, sight):
            return Continued.apply(query_BHQD, key_BJKD, value_BJKD, *given, sight)
        key_BJKD, value_BJKD = (
            torch.cat([before.expand(len(own), -1, -1, -1), own], 2)
            for before, own in zip(given, (key_BJKD, value_BJKD), strict=True)
        )
    if query_BHQD.device.type == "cpu" and is_plain:
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        mask = None if mask_QK is None else mask_QK.to(query_BHQD.dtype)[None, None]
        return kernel(query_BHQD, key_BJKD, value_BJKD, 0.0, mask is None, attn_mask=mask, scale=sight.scale)
    if query_BHQD.device.type == "cuda" and is_plain and mask_QK is None and query_BHQD.dtype in _FLASH_DTYPES:
        group = query_BHQD.shape[1] // key_BJKD.shape[1]
        key_BHKD, value_BHKD = key_BJKD.repeat_interleave(group, 1), value_BJKD.repeat_interleave(group, 1)
        flash = torch.ops.aten._scaled_dot_product_flash_attention
        return flash(query_BHQD, key_BHKD, value_BHKD, 0.0, True, False, scale=sight.scale)[:2]
    return Tiled.apply(query_BHQD, key_BJKD, value_BJKD, sight)


def goes_on(device: torch.device, sight: Sight) -> bool:
    """Say whether rows that go on behind given columns have fused attention: as fast as if they began the sequence."""
    return device.type == "cpu" and sight.softcap is None and sight.window is None


class Continued(torch.autograd.Function):
    """Fused attention of rows behind given columns: once to those, once causal to their own, joined.

    With o_i and lse_i of the two: lse = log(e^lse_1 + e^lse_2), o = sum of o_i e^(lse_i - lse). The backward pass of
    either is that of plain attention with the joint o and lse in place of its own.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query_BHQD: Tensor,
        key_BJKD: Tensor,
        value_BJKD: Tensor,
        given_key: Tensor,
        given_value: Tensor,
        sight: Sight,
    ) -> tuple[Tensor, Tensor]:
        """Return the output (B, H, Q, D) and the log-sum-exp (B, H, Q), which has no gradient."""
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        given = [states.expand(len(query_BHQD), -1, -1, -1) for states in (given_key, given_value)]
        output_BHQD, lse_BHQ = kernel(query_BHQD, key_BJKD, value_BJKD, 0.0, True, scale=sight.scale)
        given_BHQD, given_BHQ = kernel(query_BHQD, *given, 0.0, False, scale=sight.scale)
        share_BHQ1 = torch.sigmoid(given_BHQ - lse_BHQ)[..., None]
        output_BHQD = torch.lerp(output_BHQD.to(share_BHQ1), given_BHQD.to(share_BHQ1), share_BHQ1).to(query_BHQD)
        lse_BHQ = torch.logaddexp(lse_BHQ, given_BHQ)
        ctx.save_for_backward(query_BHQD, key_BJKD, value_BJKD, *given, output_BHQD, lse_BHQ)
        ctx.sight = sight
        ctx.mark_non_differentiable(lse_BHQ)
        return output_BHQD, lse_BHQ

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return dL/dQ, 0 for idle rows, and dL/dK and dL/dV of the rows' own columns, theirs too."""
        query_BHQD, key_BJKD, value_BJKD, *given, output_BHQD, lse_BHQ = ctx.saved_tensors
        kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        idle, scale = ctx.sight.idle, ctx.sight.scale
        idle_BJKD, own_BJKD = zip(*(states.tensor_split([idle], 2) for states in (key_BJKD, value_BJKD)), strict=True)
        slope_BHQD, rows_BHQD, joint_BHQD, joint_BHQ = (
            states[:, :, idle:] for states in (gradients[0], query_BHQD, output_BHQD, lse_BHQ)
        )
        before_BJKD = [torch.cat(parts, 2) for parts in zip(given, idle_BJKD, strict=True)] if idle else given
        joint = (joint_BHQD, joint_BHQ, 0.0)
        to_rows, *to_own = kernel(slope_BHQD, rows_BHQD, *own_BJKD, *joint, True, scale=scale)
        more, *to_before = kernel(slope_BHQD, rows_BHQD, *before_BJKD, *joint, False, scale=scale)
        to_rows += more
        if not idle:
            return to_rows, *to_own, None, None, None
        to_query = torch.nn.functional.pad(to_rows, (0, 0, idle, 0))
        columns = given[0].shape[2]
        to_key, to_value = (torch.cat([a[:, :, columns:], b], 2) for a, b in zip(to_before, to_own, strict=True))
        return to_query, to_key, to_value, None, None, None


class Tiled(torch.autograd.Function):
    """Attention made and differentiated tile by tile: never more than a tile of A, any sight, any device."""

    @staticmethod
    def forward(
        ctx: Any, query_BHQD: Tensor, key_BJKD: Tensor, value_BJKD: Tensor, sight: Sight
    ) -> tuple[Tensor, Tensor]:
        """Return the output (B, H, Q, D) and the log-sum-exp (B, H, Q), which has no gradient."""
        dtype, shared = wide(query_BHQD.dtype), key_BJKD.shape[1]
        query_PgQD = by_key_head(query_BHQD.to(dtype) * sight.scale, shared)
        value_PKD = value_BJKD.to(dtype).flatten(0, 1)
        output_PgQD = torch.empty_like(query_PgQD)
        lse_PgQ = query_PgQD.new_empty(query_PgQD.shape[:3])
        scratch = Scratch()
        key_PDK = scratch.columns("key", [key_BJKD])
        for tile in _all_tiles(query_BHQD, key_BJKD, sight):
            scores_PgQK = scratch.product("A", query_PgQD, key_PDK, tile)
            if sight.softcap is not None:
                soften(scores_PgQK, sight.softcap)
            hide(scores_PgQK, tile, sight)
            lse_PgQ[:, :, tile.rows] = scores_PgQK.logsumexp(-1)
            scores_PgQK.sub_(lse_PgQ[:, :, tile.rows, None]).exp_()
            output_PgQD[:, :, tile.rows] = scores_PgQK @ value_PKD[:, None, tile.columns]
        output_BHQD = output_PgQD.view(query_BHQD.shape).to(query_BHQD.dtype)
        lse_BHQ = lse_PgQ.view(query_BHQD.shape[:3])
        ctx.save_for_backward(query_BHQD, key_BJKD, value_BJKD, output_BHQD, lse_BHQ)
        ctx.sight = sight
        ctx.mark_non_differentiable(lse_BHQ)
        return output_BHQD, lse_BHQ

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Return dL/dQ, dL/dK and dL/dV: with A rebuilt, dS = A * (dO V^T - sum(dO * O))."""
        query_BHQD, key_BJKD, value_BJKD, output_BHQD, lse_BHQ = ctx.saved_tensors
        sight, shared, dtype = ctx.sight, key_BJKD.shape[1], wide(query_BHQD.dtype)
        scratch = Scratch()
        probabilities = Probabilities(query_BHQD, [key_BJKD], lse_BHQ, sight, scratch)
        query_PgQD, slope_PgQD = (by_key_head(states.to(dtype), shared) for states in (query_BHQD, gradients[0]))
        key_PKD, value_PDK = key_BJKD.to(dtype).flatten(0, 1), scratch.columns("value", [value_BJKD])
        mean_PgQ1 = (slope_PgQD * by_key_head(output_BHQD.to(dtype), shared)).sum(-1, keepdim=True)
        to_query_PgQD = torch.empty_like(query_PgQD)
        to_key_PKD, to_value_PKD = torch.zeros_like(key_PKD), torch.zeros_like(key_PKD)
        for tile in _all_tiles(query_BHQD, key_BJKD, sight):
            a_PgQK = probabilities.on(tile)
            slope_PRD = slope_PgQD[:, :, tile.rows].flatten(1, 2)
            to_value_PKD[:, tile.columns] += a_PgQK.flatten(1, 2).transpose(1, 2) @ slope_PRD
            to_score_PgQK = scratch.product("slope", slope_PgQD, value_PDK, tile).sub_(mean_PgQ1[:, :, tile.rows])
            to_score_PgQK.mul_(a_PgQK).mul_(sight.scale)
            if sight.softcap is not None:
                rows_PgQD, columns_PDK = probabilities.query_PgQD, probabilities.key_PDK
                capped = soften(scratch.product("A", rows_PgQD, columns_PDK, tile), sight.softcap)
                to_score_PgQK.mul_(1 - (capped / sight.softcap) ** 2)
            to_query_PgQD[:, :, tile.rows] = to_score_PgQK @ key_PKD[:, None, tile.columns]
            query_PRD = query_PgQD[:, :, tile.rows].flatten(1, 2)
            to_key_PKD[:, tile.columns] += to_score_PgQK.flatten(1, 2).transpose(1, 2) @ query_PRD
        to_key, to_value = to_key_PKD.view(key_BJKD.shape), to_value_PKD.view(value_BJKD.shape)
        return (
            to_query_PgQD.view(query_BHQD.shape).to(query_BHQD.dtype),
            to_key.to(key_BJKD),
            to_value.to(value_BJKD),
            None,
        )


def _all_tiles(query_BHQD: Tensor, key_BJKD: Tensor, sight: Sight) -> Iterator[Rectangle]:
    batch, heads, length, _ = query_BHQD.shape
    return tiles(range(length), tile_rows(batch * heads, key_BJKD.shape[2], query_BHQD.device), sight)
