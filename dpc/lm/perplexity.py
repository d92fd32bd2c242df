"""How likely a text is to a language model. Axes: K token, V vocabulary, D width."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from dpc.errors import DpcError
from dpc.lm.models import LanguageModel


@torch.no_grad()
def mean_nll(lm: LanguageModel, ids: Sequence[int]) -> float:
    """Return (1 / n) sum_t -log phi(t | those before) in nats; its exponential is the perplexity.

    The first token follows the beginning that the model's sequences have, or else its end mark, which ends the text
    before. nan for no token. Raises DpcError where the tokens do not fit the context.
    """
    if not ids:
        return math.nan
    if len(ids) > lm.context:
        raise DpcError(f"a prompt of {len(ids)} tokens does not fit the context of {lm.context}; shorten it")
    start = lm.end_ids[0] if lm.bos_id is None else lm.bos_id
    before = torch.tensor([[start, *ids[:-1]]], device=lm.device)
    hidden_KD = lm.model.get_decoder()(input_ids=before).last_hidden_state[0]
    log_p_KV = lm.logits(hidden_KD).float().log_softmax(-1)
    targets_K = torch.tensor(list(ids), device=log_p_KV.device)
    return float(-log_p_KV.gather(1, targets_K[:, None]).mean())
