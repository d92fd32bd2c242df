"""What a batch has behind it while decoding: keys, values, positions, and what attention may look at.

Keys and values are written into room made beforehand, instead of copying all of them for every token. Columns are not
positions: a batch lies as `[shared prefix][pad][rest][new tokens]`, so masks go by position, the sliding window's too.
Axes: B batch, J key-value head, S column, Q query, D width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from dpc.lm.act.calibration import Calibration
from dpc.lm.batches import copy_rows
from dpc.lm.models import LanguageModel


class _RoomyLayer(DynamicLayer):
    """One layer's keys and values (B, J, S, D) at the front of a longer buffer."""

    def __init__(self, columns: int):
        super().__init__()
        self.columns = columns

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new columns; return views of everything so far, with as many rows as the new columns have."""
        start = self.get_seq_length()
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            shape = (*key_states.shape[:2], self.columns)
            self._key_room = key_states.new_empty(*shape, key_states.shape[3])
            self._value_room = value_states.new_empty(*shape, value_states.shape[3])
        rows, end = len(key_states), start + key_states.shape[2]
        self.keys, self.values = self._key_room[:rows, :, :end], self._value_room[:rows, :, :end]
        self.keys[:, :, start:] = key_states
        self.values[:, :, start:] = value_states
        return self.keys, self.values


class Past:
    """The columns of a batch, filled from the left; `columns` is how many there will be.

    Sliding windows are left to the masks: every column is kept.
    """

    def __init__(self, lm: LanguageModel, mask_BS: Tensor, position_BS: Tensor, columns: int):
        """`mask_BS` is 1 where attention may look; new tokens take the positions after the last column's."""
        new_B1 = position_BS[:, -1:] + 1
        new_BS = new_B1 + torch.arange(columns - mask_BS.shape[1], device=lm.device)
        self.lm = lm
        self.end = 0
        self.calibration: Calibration | None = None
        self.position_BS = torch.cat([position_BS, new_BS], 1)
        self.mask_BS = torch.cat([mask_BS, torch.ones_like(new_BS)], 1).bool()
        self.cache = Cache(layers=[_RoomyLayer(columns) for _ in range(lm.model.config.num_hidden_layers)])

    def begin_with(self, prefix: Past) -> None:
        """Let every row begin with the columns of `prefix`, which has one row."""
        for layer, first in zip(self.cache.layers, prefix.cache.layers, strict=True):
            rows = len(self.mask_BS)
            layer.update(first.keys.expand(rows, -1, -1, -1), first.values.expand(rows, -1, -1, -1))
        self.end = prefix.end

    def append(self, columns: int) -> dict[str, Any]:
        """Count `columns` more as filled, and return what the model has to know about them to fill them."""
        start, self.end = self.end, self.end + columns
        query_BQ = self.position_BS[:, start : self.end]
        masks = causal_masks(self.lm, self.mask_BS[:, : self.end], self.position_BS[:, : self.end], query_BQ)
        return {"position_ids": query_BQ, "attention_mask": masks, "past_key_values": self.cache, "use_cache": True}

    def keep(self, count: int, source: list[int], target: list[int]) -> None:
        """Keep the first `count` rows, after the rows `source` were copied over the rows `target`."""
        states = [kept for layer in self.cache.layers for kept in (layer.keys, layer.values)]
        if source:
            copy_rows([self.mask_BS, self.position_BS, *states], source, target)
        self.mask_BS, self.position_BS = self.mask_BS[:count], self.position_BS[:count]
        if self.calibration:
            self.calibration.keep(count, source, target)


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
