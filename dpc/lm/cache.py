"""A key-value cache that writes into room made beforehand, instead of copying all of it for every token."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class _RoomyLayer(DynamicLayer):
    """One layer's keys and values (B, J key-value heads, S, D) at the front of a longer buffer."""

    def __init__(self, room: int):
        super().__init__()
        self.room = room

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append new positions; return views of everything so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._key_room, self._value_room = (
                states.new_empty(*states.shape[:2], states.shape[2] + self.room, states.shape[3])
                for states in (key_states, value_states)
            )
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        self._key_room[:, :, start:end] = key_states
        self._value_room[:, :, start:end] = value_states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`."""
        end = self.get_seq_length()
        self._key_room, self._value_room = self._key_room[indices], self._value_room[indices]
        self._show(end)

    def _show(self, end: int) -> None:
        self.keys, self.values = self._key_room[:, :, :end], self._value_room[:, :, :end]


def roomy_cache(new_tokens: int) -> Cache:
    """Return an empty cache with room for `new_tokens` after the first forward pass.

    Sliding windows are left to the attention mask: every position is kept.
    """
    return Cache(layer_class_to_replicate=partial(_RoomyLayer, new_tokens))
