"""A cache that is given and does not grow. Axes: B batch, J key-value head, S position, D head width."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


class _GivenLayer(DynamicLayer):
    """One layer's keys and values of the positions before; new ones are put behind them, and not kept.

    So a layer may run twice, as it does under activation checkpointing.
    """

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return the given positions, the same for all rows if only one row is given, and the new ones."""
        keys, values = (given.expand(len(key_states), -1, -1, -1) for given in (self.keys, self.values))
        return torch.cat([keys, key_states], 2), torch.cat([values, value_states], 2)


def given_cache(before: Cache) -> Cache:
    """Return a cache that always shows what `before` holds, and the positions of the present pass behind it."""
    layers = []
    for kept in before.layers:
        layer = _GivenLayer()
        layer.lazy_initialization(kept.keys, kept.values)
        layer.keys, layer.values = kept.keys, kept.values
        layers.append(layer)
    return Cache(layers=layers)
