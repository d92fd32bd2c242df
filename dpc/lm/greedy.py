"""From hidden states to the greedy next token, over vocabularies of any size. Axes: R row, V vocabulary, D width."""

from __future__ import annotations

import torch
from torch import Tensor

from dpc.lm.finite import check_finite
from dpc.lm.models import LanguageModel

LOGITS_BYTES = 64 * 2**20
"""Logits that are there at once, at most; one row's, where those are more."""


def next_tokens(lm: LanguageModel, hidden_RD: Tensor) -> Tensor:
    """Return the token of the largest logit after each of the decoder's outputs (R); of equal logits the first.

    Expects a matrix: torch copies a frozen output matrix once per row where it is multiplied by a strided slice of a
    (B, S, D) tensor. Gemma 2's soft-capping is left out: it keeps the order. `max` takes a third of `argmax`'s time.
    Raises DpcError where a largest logit is not finite: NaN counts as the largest.
    """
    if hidden_RD.dim() != 2:
        raise ValueError(f"hidden states have the shape {tuple(hidden_RD.shape)}; expected a matrix, rows x width")
    head = lm.model.get_output_embeddings()
    rows = max(1, LOGITS_BYTES // (head.weight.shape[0] * head.weight.element_size()))
    found = [head(chunk_CD).max(-1) for chunk_CD in hidden_RD.contiguous().split(rows)]
    check_finite(torch.cat([each.values for each in found]), "a next token's logit")
    return torch.cat([each.indices for each in found]).to(hidden_RD.device)
