"""Attention calibration (ACT): weight of attention sinks is moved to the other keys, in some heads only.

Per head, on its map A over the S rows of [BOS, prompt, question]: received(t) = sum_i A[i, t] / (S - t). Keys that
receive more than a threshold are sinks; a row's mass m on them shrinks to beta m, and (1 - beta) m goes to its other
keys in proportion to their weight (docs/methods.md). `prefill_sets` finds the sinks on those rows once and keeps
them for every later row, so that a row comes out the same with a cache and without one. `released` does what the
published function does: sinks anew at every call, and key 0 of a call's first row set to 1.

The model runs its own attention; what is added to a head's output is (change of A) V, so that beta = 1, and heads that
are not switched on, leave every bit as it was. Axes: B batch, H head, h head switched on, J key-value head, S prefill
position, Q query row, K key column, D head width.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dpc.config.methods import Act
from dpc.lm.batches import copy_rows
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.attention import soften, wide

ATTENTION = "dpc_act"
_active: list[tuple[Calibration, Any]] = []


def received(a_BhQK: Tensor, is_row_BQ: Tensor, is_column_BK: Tensor) -> tuple[Tensor, Tensor]:
    """Return sum_i A[i, t] / (S - t) per column (B, h, K), and S - t (B, K): 0 in columns that do not count.

    S counts a row's columns, t is the place of a column among them; only the rows of `is_row_BQ` are summed.
    """
    columns_BK = is_column_BK.long()
    below_BK = (columns_BK.sum(1, keepdim=True) - columns_BK.cumsum(1) + 1) * columns_BK
    sums_BhK = (a_BhQK * is_row_BQ[:, None, :, None]).sum(2)
    return sums_BhK / below_BK.clamp(min=1)[:, None] * columns_BK[:, None], below_BK


def sinks(received_BhK: Tensor, below_BK: Tensor, rule: Act) -> Tensor:
    """Return which columns are sinks (B, h, K): they receive more than tau, or than alpha / S.

    `prefill_sets` spares position 0, and columns averaged over fewer than `rule.min_rows` rows; `released` spares the
    first sink it finds, wherever that lies.
    """
    length_B = below_BK.amax(1)
    limit_B = torch.full_like(length_B, rule.tau, dtype=received_BhK.dtype)
    if rule.threshold == "alpha":
        limit_B = rule.alpha / length_B
    is_sink_BhK = (received_BhK > limit_B[:, None, None]) & (below_BK > 0)[:, None]
    if rule.mode == "released":
        return is_sink_BhK & (is_sink_BhK.long().cumsum(2) > 1)
    return is_sink_BhK & ((below_BK >= rule.min_rows) & (below_BK < length_B[:, None]))[:, None]


def change(a_BhQK: Tensor, is_sink_BhK: Tensor, beta: float) -> Tensor:
    """Return what calibration adds to the weights (B, h, Q, K); each row of it sums to 0.

    Row [.2, .7, .1] with sink 1 and beta .4 becomes [.48, .28, .24]. A row without another key to give to stays.
    """
    on_sinks_BhQK = a_BhQK * is_sink_BhK[:, :, None]
    others_BhQK = a_BhQK - on_sinks_BhQK
    mass_BhQ1, rest_BhQ1 = on_sinks_BhQK.sum(-1, keepdim=True), others_BhQK.sum(-1, keepdim=True)
    tiny = torch.finfo(a_BhQK.dtype).tiny
    moved_BhQK = mass_BhQ1 * (others_BhQK / rest_BhQ1.clamp(min=tiny)) - on_sinks_BhQK
    return (1 - beta) * moved_BhQK * (rest_BhQ1 > tiny)


class Calibration:
    """Calibrates one batch: in which heads, on which rows sinks are found, and the sinks that were found.

    `heads` are the heads of each layer switched on in all rows, or one list for each row of the batch (B x h).
    `prefill_BS` says which columns of the first call, which has no cache behind it, are prefill: left or right padded.
    In mode `released` the rows of a call are all of its rows, and `prefill_BS` says which of them are no pads.
    """

    def __init__(self, rule: Act, heads: Mapping[int, Sequence[int] | Sequence[Sequence[int]]], prefill_BS: Tensor):
        device = prefill_BS.device
        self.rule, self.prefill_BS = rule, prefill_BS != 0  # a tensor of its own: `keep` writes into it
        self.heads = {layer: torch.tensor(chosen, device=device) for layer, chosen in heads.items() if len(chosen)}
        self.sinks: dict[int, Tensor] = {}
        self.rows = slice(None)
        """Of the batch, in a call behind the first; a call may be of some rows only."""

    @staticmethod
    def joined(parts: Sequence[Calibration]) -> Calibration:
        """Return one calibration over the rows of all `parts`, whose first calls are over; same heads in all rows."""
        whole = Calibration(parts[0].rule, {}, torch.cat([part.prefill_BS for part in parts]))
        whole.heads = parts[0].heads
        whole.sinks = {layer: torch.cat([part.sinks[layer] for part in parts]) for layer in parts[0].sinks}
        return whole

    def keep(self, count: int, source: Sequence[int], target: Sequence[int]) -> None:
        """Keep the first `count` rows, after the rows `source` were copied over the rows `target`."""
        if source:
            copy_rows([self.prefill_BS, *self.sinks.values()], source, target)
        self.prefill_BS = self.prefill_BS[:count]
        self.sinks = {layer: kept[:count] for layer, kept in self.sinks.items()}

    def rows_and_heads(self, layer: int, device: torch.device) -> tuple[Any, Tensor]:
        """Return what to index rows and heads with (B, H, ...) to get the heads that are switched on (B, h, ...)."""
        heads = self.heads[layer].to(device)
        return (slice(None) if heads.dim() == 1 else torch.arange(len(heads), device=device)[:, None]), heads

    def change(self, layer: int, a_BhQK: Tensor) -> Tensor:
        """Return what is added to the weights of a layer's heads in this call; the first call finds the sinks."""
        rows, columns = a_BhQK.shape[2:]
        prefill_BS = self.prefill_BS[self.rows].to(a_BhQK.device)
        more = columns - prefill_BS.shape[1]
        if self.rule.mode == "released":
            is_column_BK = functional.pad(prefill_BS, (0, more), value=True)
            return self._released(a_BhQK, is_column_BK[:, -rows:], is_column_BK)
        if layer not in self.sinks:
            self.sinks[layer] = sinks(*received(a_BhQK, prefill_BS, prefill_BS), self.rule)
        return change(a_BhQK, functional.pad(self.sinks[layer][self.rows], (0, more)), self.rule.beta)

    def _released(self, a_BhQK: Tensor, is_row_BQ: Tensor, is_column_BK: Tensor) -> Tensor:
        """Return the published function's change: the first row's key 0 is 1, whatever the row adds up to then."""
        is_sink_BhK = sinks(*received(a_BhQK, is_row_BQ, is_column_BK), self.rule)
        changed_BhQK = change(a_BhQK, is_sink_BhK, self.rule.beta)
        row_B, key_B = is_row_BQ.long().argmax(1), is_column_BK.long().argmax(1)
        b = torch.arange(len(a_BhQK), device=a_BhQK.device)
        changed_BhQK[b, :, row_B, key_B] = 1 - a_BhQK[b, :, row_B, key_B]
        return changed_BhQK


def weights(query_BhQD: Tensor, key_BhKD: Tensor, mask_B1QK: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Return A (B, h, Q, K), float32 at least. `mask_B1QK` is additive."""
    dtype = wide(query_BhQD.dtype)
    scores_BhQK = query_BhQD.to(dtype) @ key_BhKD.to(dtype).transpose(2, 3) * scale
    if softcap is not None:
        soften(scores_BhQK, softcap)
    return (scores_BhQK + mask_B1QK[..., : key_BhKD.shape[2]]).softmax(-1)


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Any]:
    """Run the model's own attention and add the change of the chosen heads; transformers' interface (B, H, S, D)."""
    calibration, own = _active[-1]
    output, more = own(module, query, key, value, attention_mask, **kwargs)
    layer = module.layer_idx
    if layer not in calibration.heads:
        return output, more
    if attention_mask is None:
        raise RuntimeError("attention calibration needs the masks of dpc.lm.cache.causal_masks")
    rows, heads = calibration.rows_and_heads(layer, query.device)
    shared = heads // (query.shape[1] // key.shape[1])  # the key-value heads that they share
    a_BhQK = weights(query[rows, heads], key[rows, shared], attention_mask, kwargs["scaling"], kwargs.get("softcap"))
    added_BhQD = calibration.change(layer, a_BhQK) @ value[rows, shared].to(a_BhQK.dtype)
    by_head_BHQD = output.transpose(1, 2)  # a view: what is written here stands in `output`
    by_head_BHQD[rows, heads] = (by_head_BHQD[rows, heads].to(a_BhQK.dtype) + added_BhQD).to(output.dtype)
    return output, more


@contextmanager
def calibrated(lm: LanguageModel, calibration: Calibration | None) -> Iterator[None]:
    """Let every forward pass of `lm` be calibrated; nothing changes for None, or without heads."""
    if calibration is None or not calibration.heads:
        yield
        return
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    before = lm.model.config._attn_implementation
    eager = sys.modules[type(lm.model).__module__].eager_attention_forward
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    _active.append((calibration, ALL_ATTENTION_FUNCTIONS.get_interface(before, eager)))
    lm.model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        _active.pop()
        lm.model.set_attn_implementation(before)
