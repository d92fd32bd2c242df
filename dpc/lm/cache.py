"""The KV cache of a batch while decoding: keys, values, positions, and the attention mask.

Keys and values are written into room made beforehand, instead of copying all of them for every token. Columns are not
positions: a batch lies as `[shared prefix][pad][rest][new tokens]`, so masks go by position, the sliding window's too.
A row may be ahead of another: what stands behind a row's last token has later positions, so no query of it sees that,
and its next tokens are written over it.
Axes: B batch, R row of a pass, J key-value head, S column, Q query, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from dpc.lm.act.calibration import Calibration
from dpc.lm.batches import copy_rows
from dpc.lm.models import LanguageModel

if TYPE_CHECKING:
    from dpc.lm.traces import Tracer

States = list[tuple[Tensor, Tensor]]
"""Keys and values (B, J, S, D) of every layer."""
CLEARED_AT_ONCE = 64
"""Columns: what was never written is masked, but 0 times what happens to lie there may be NaN."""


@dataclass(frozen=True)
class Place:
    """Where a pass writes: rows of the batch, and the columns of their new tokens."""

    rows: slice
    columns: slice | Tensor
    """The same in all rows, or of each row (R x Q)."""
    end: int
    """The first column that no row of the pass has filled."""

    def write(self, room_BJSD: Tensor, states_RJQD: Tensor) -> None:
        """Put the new states where they belong."""
        room_RJSD = room_BJSD[self.rows]
        if isinstance(self.columns, slice):
            room_RJSD[:, :, self.columns] = states_RJQD
        else:
            column_RQ = self.columns.to(room_RJSD.device)
            row_R1 = torch.arange(len(room_RJSD), device=room_RJSD.device)[:, None]
            room_RJSD[row_R1, :, column_RQ] = states_RJQD.transpose(1, 2)


class _RoomyLayer(DynamicLayer):
    """One layer's keys and values (B, J, S, D) at the front of a longer buffer."""

    def __init__(self, past: Past):
        super().__init__()
        self.past, self.cleared = past, 0
        self.rooms: list[Tensor] = []

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write new columns; return views of the pass's rows up to their end."""
        place, states = self.past.place, (key_states, value_states)
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            rows, columns = self.past.mask_BS.shape
            self.rooms = [state.new_empty(rows, state.shape[1], columns, state.shape[3]) for state in states]
        if place.end > self.cleared:
            before, self.cleared = self.cleared, place.end + CLEARED_AT_ONCE
            self.clear(slice(0, len(self.past.mask_BS)), before)  # places that rows have left take no more memory
        for room, state in zip(self.rooms, states, strict=True):
            place.write(room, state)
        self.keys, self.values = (room[place.rows, :, : place.end] for room in self.rooms)
        return self.keys, self.values

    def clear(self, rows: slice, before: int = 0) -> None:
        """Write 0 to rows, from column `before` to the last one that is cleared."""
        for room in self.rooms:
            room[rows, :, before : self.cleared] = 0


class Past:
    """The columns of a batch; `columns` is how many there will be.

    Sliding windows are left to the masks: every column is kept.
    """

    def __init__(self, lm: LanguageModel, mask_BS: Tensor, position_BS: Tensor, columns: int):
        """`mask_BS` is 1 where attention may look; new tokens take the positions after the last column's."""
        self.lm = lm
        self.calibration: Calibration | None = None
        self.tracer: Tracer | None = None
        self.mask_BS, self.position_BS = _with_new(mask_BS, position_BS, columns)
        self.place = Place(slice(0, 0), slice(0, 0), 0)
        self.filled = 0
        self.cache = Cache(layers=[_RoomyLayer(self) for _ in range(lm.model.config.num_hidden_layers)])

    def states(self) -> States:
        """Return every layer's keys and values (B, J, S, D) of the columns that are filled."""
        return [
            (keys[:, :, : self.filled], values[:, :, : self.filled])
            for keys, values in (layer.rooms for layer in self.cache.layers)
        ]

    def begin_with(self, states: States, which: Sequence[int], place: int = 0) -> None:
        """Let rows from `place` on begin with columns whose keys and values are known: those of rows `which`."""
        if not states:
            return
        columns = states[0][0].shape[2]
        self._go_to(slice(place, place + len(which)), slice(0, columns), columns)
        for layer, (keys, values) in zip(self.cache.layers, states, strict=True):
            layer.update(keys[which], values[which])

    def admit(self, mask_BS: Tensor, position_BS: Tensor, states: States, which: Sequence[int]) -> int:
        """Let rows begin in places that others have left, see `begin_with`, and return the first.

        What others said there has later positions than any query of theirs, until they write over it.
        """
        start, columns = self.mask_BS.shape
        mask_BS, position_BS = _with_new(mask_BS, position_BS, columns)
        self.mask_BS = torch.cat([self.mask_BS, mask_BS])
        self.position_BS = torch.cat([self.position_BS, position_BS])
        for layer in self.cache.layers:
            layer.clear(slice(start, len(self.mask_BS)))
        self.begin_with(states, which, start)
        return start

    def fill(self, rows: slice, first: Sequence[int], count: int) -> dict[str, Any]:
        """Return what the model has to know to fill `count` columns of each of `rows`, from column first[r] on.

        Where a row has no more columns, what lies beyond goes to the last one, which no query reads.
        """
        last = self.mask_BS.shape[1] - 1
        end = min(max(first) + count, last + 1)
        if min(first) == max(first) and first[0] + count == end:
            self._go_to(rows, slice(first[0], end), end)
            query_RQ = self.position_BS[rows, first[0] : end]
        else:
            first_R1 = torch.tensor(first, device=self.lm.device)[:, None]
            column_RQ = (first_R1 + torch.arange(count, device=self.lm.device)).clamp(max=last)
            self._go_to(rows, column_RQ, end)
            query_RQ = self.position_BS[rows].gather(1, column_RQ)
        masks = causal_masks(self.lm, self.mask_BS[rows, :end], self.position_BS[rows, :end], query_RQ)
        return {"position_ids": query_RQ, "attention_mask": masks, "past_key_values": self.cache, "use_cache": True}

    def _go_to(self, rows: slice, columns: slice | Tensor, end: int) -> None:
        self.place, self.filled = Place(rows, columns, end), max(self.filled, end)
        if self.calibration:
            self.calibration.rows = rows

    def arrange(self, order: Sequence[int]) -> None:
        """Let row order[b] be row b, and drop all others."""
        moved = [(source, target) for target, source in enumerate(order) if source != target]
        source, target = [s for s, _ in moved], [t for _, t in moved]
        if moved:
            states = [room[:, :, : self.filled] for layer in self.cache.layers for room in layer.rooms]
            copy_rows([self.mask_BS, self.position_BS, *states], source, target)
        self.mask_BS, self.position_BS = self.mask_BS[: len(order)], self.position_BS[: len(order)]
        if self.calibration:
            self.calibration.keep(len(order), source, target)
        if self.tracer:
            self.tracer.arrange(order, source, target)


def _with_new(mask_BS: Tensor, position_BS: Tensor, columns: int) -> tuple[Tensor, Tensor]:
    """Return mask and positions with those of new tokens, which take the positions after the last column's."""
    new_BS = position_BS[:, -1:] + 1 + torch.arange(columns - mask_BS.shape[1], device=mask_BS.device)
    mask_BS = torch.cat([mask_BS, torch.ones_like(new_BS)], 1).bool()
    return mask_BS, torch.cat([position_BS, new_BS], 1)


def causal_masks(
    lm: LanguageModel, mask_BS: Tensor, position_BS: Tensor, query_BQ: Tensor
) -> Tensor | dict[str, Tensor]:
    """Return additive masks (B, 1, Q, S) in the form the model takes: one for all layers, or one for each type.

    They are finite: a pad that sees nothing must not become NaN, and so reach rows that multiply it by zero.
    """
    config, dtype = lm.model.config, lm.embedding.weight.dtype
    back_BQS = query_BQ[:, :, None] - position_BS[:, None]
    seen_BQS = mask_BS[:, None] & (back_BQS >= 0)
    window = getattr(config, "sliding_window", None)
    near_BQS = seen_BQS if window is None else seen_BQS & (back_BQS < window)

    def additive(seen_BQS: Tensor) -> Tensor:
        blocked_BQS = torch.zeros_like(seen_BQS, dtype=dtype).masked_fill_(~seen_BQS, torch.finfo(dtype).min)
        return blocked_BQS[:, None]

    kinds = set(getattr(config, "layer_types", ()))
    if not kinds:
        return additive(near_BQS)
    return {kind: additive(near_BQS if kind == "sliding_attention" else seen_BQS) for kind in kinds}
