"""Fused attention of several new tokens over grouped key heads without copies of them.

transformers folds the query heads of a group into query rows where a row has one new token, and repeats keys and values
where it has more: checking a draft of 8 tokens behind 400 columns would copy 7 x 400 keys for 14 heads on 2. Here the
group is folded for any number. Axes: B row, H head, J key-value head, G head of a group, Q query, K key, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.nn import functional

from dpc.lm.models import LanguageModel

ATTENTION = "dpc_grouped"


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend with an additive mask (B, 1, Q, K) that all heads share; transformers' interface (B, H, Q, D)."""
    rows, heads, queries, width = query.shape
    group = heads // key.shape[1]
    folded = query.reshape(rows, key.shape[1], group * queries, width)
    mask = attention_mask if queries == 1 else attention_mask.repeat(1, 1, group, 1)
    output = functional.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling)
    return output.reshape(rows, heads, queries, width).transpose(1, 2).contiguous(), None


@contextmanager
def grouped(lm: LanguageModel) -> Iterator[None]:
    """Let every forward pass of `lm` fold its groups; nothing changes without groups, or with another kernel."""
    config = lm.model.config
    before = config._attn_implementation
    if before != "sdpa" or config.num_key_value_heads == config.num_attention_heads:
        yield
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    lm.model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        lm.model.set_attn_implementation(before)
