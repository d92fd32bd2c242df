"""A model that runs the attention of `attention.py` on right-padded rows, behind columns that are given to every layer.

Axes: B batch, H head, J key-value head, S position, Q query row, K key column, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from dpc.lm.models import LanguageModel
from dpc.lm.saliency.attention import Given, Reader, Sight, attend
from dpc.lm.sparing import foldable

ATTENTION = "dpc_tiled"


@dataclass(frozen=True)
class Passage:
    """What one layer's attention is told, beside its states."""

    given: Given | None = None
    """Keys and values of the columns before."""
    rows: range | None = None
    """The rows that a loss depends on; None is all."""
    reader: Reader | None = None
    begin: Callable[[Tensor], Tensor] | None = None
    """Put in the place of the queries: where a graph begins."""


States = tuple[Tensor, Tensor, Tensor]
"""Queries (B, H, S, D), keys and values (B, J, S, D) of a layer."""
Attention = Callable[[int, States, Sight], Tensor]
"""From a layer, its states, and scale, window and cap of its sight to the output (B, S, H, D)."""
_active: list[Attention] = []


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Let the active attention do it; transformers' attention interface (B, H, S, D)."""
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    return _active[-1](module.layer_idx, (query, key, value), Sight(scale, sliding_window, softcap)), None


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Rows are padded on the right: the causal mask, built into `attention.py`, is all they need."""


@contextmanager
def attending(lm: LanguageModel, attention: Attention) -> Iterator[None]:
    """Let every layer of the model attend as `attention` does."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, _no_mask)  # an unregistered name would silently get no mask at all
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation(ATTENTION)
    _active.append(attention)
    try:
        yield
    finally:
        _active.pop()
        lm.model.set_attn_implementation(before)


def tiled(lm: LanguageModel, passage: Callable[[int], Passage]) -> AbstractContextManager[None]:
    """Let the model run its attention tile by tile, as `passage` tells each layer."""

    def attention(layer: int, states: States, sight: Sight) -> Tensor:
        told, (query, key, value) = passage(layer), states
        offset = 0 if told.given is None else told.given[0].shape[2]
        query = query if told.begin is None else told.begin(query)
        return attend(query, key, value, replace(sight, offset=offset, rows=told.rows), told.given, told.reader)

    return attending(lm, attention)


def before(lm: LanguageModel, embeds_BSD: Tensor, given: Sequence[Given] = ()) -> list[Given]:
    """Return every layer's keys and values of what goes before: what later rows are given.

    What stands in front of these rows is `given` (one row for all, or one each), and comes back with them.
    """
    from transformers import DynamicCache

    cache = DynamicCache()  # without the model's config no layer forgets what is outside its window
    first = given[0][0].shape[2] if given else 0
    position_1S = torch.arange(first, first + embeds_BSD.shape[1], device=embeds_BSD.device)[None]
    with tiled(lm, lambda layer: Passage(given=given[layer] if given else None)):
        lm.model.get_decoder()(inputs_embeds=foldable(embeds_BSD), position_ids=position_1S, past_key_values=cache)
    own = [(kept.keys, kept.values) for kept in cache.layers]
    return [_joined(*both) for both in zip(given, own, strict=True)] if given else own


def _joined(given: Given, own: Given) -> Given:
    """Return keys and values of columns that are given, and of those behind them."""
    key, value = (
        torch.cat([before_JKD.expand(len(own_BJKD), -1, -1, -1), own_BJKD], 2)
        for before_JKD, own_BJKD in zip(given, own, strict=True)
    )
    return key, value


def behind(lm: LanguageModel, embeds_BSD: Tensor, first: int) -> Tensor:
    """Return the decoder's outputs (B, S - first, D) at the positions from `first` on; the passage gives the others."""
    position_1S = torch.arange(first, embeds_BSD.shape[1], device=embeds_BSD.device)[None]
    hidden_BSD: Tensor = lm.model.get_decoder()(
        inputs_embeds=foldable(embeds_BSD[:, first:]), position_ids=position_1S, use_cache=False
    ).last_hidden_state
    return hidden_BSD
