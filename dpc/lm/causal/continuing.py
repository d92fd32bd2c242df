"""Greedy answers that go on from a given beginning, with attention cut from there on.

Axes: B batch, S column, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.lm.causal.passes import cutting
from dpc.lm.decoding import Limits
from dpc.lm.ending import Ending
from dpc.lm.greedy import next_tokens
from dpc.lm.grouped import grouped
from dpc.lm.layout import Layout, left_padded, shared_prefix
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import begin, states_of, tokens_at_once


@dataclass(frozen=True)
class Begun:
    """A question and the first tokens of its rationale, which are forced."""

    question_ids: Sequence[int]
    said: Sequence[int] = ()
    hidden: Sequence[int] = ()
    """Columns, counted from the head's first, that no row sees that predicts a token behind `said`."""


@torch.inference_mode()
def continued(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor | None, begun: Sequence[Begun], limits: Limits, layers: range
) -> list[list[int]]:
    """Return each rationale, its forced tokens first; in `layers` the new tokens' rows do not see hidden columns."""
    prompts = [prompt_ND] * len(begun)
    prefix_KD = shared_prefix(lm, layout, prompts, [()])
    given = [[*each.question_ids, *each.said] for each in begun]
    batch = left_padded(lm, layout, prompts, [ids[:-1] for ids in given], shared=len(prefix_KD))
    said, column, rows = [list(each.said) for each in begun], batch.mask_BS.shape[1], slice(0, len(begun))
    ending = Ending(lm, limits.stop, limits.max_new_tokens)
    is_open, last = [not tokens or not ending.after(tokens) for tokens in said], [ids[-1] for ids in given]
    decoder, new = lm.model.get_decoder(), limits.max_new_tokens - min(map(len, said)) + 1
    hidden_B1S = _hidden(begun, batch.pads, len(prefix_KD), column + new, lm.device)
    with grouped(lm):
        states = states_of(lm, prefix_KD[None], tokens_at_once(lm))
        past = begin(lm, batch, states, [0] * len(begun), new)
        count = batch.embeds_BSD.shape[1]
        decoder(inputs_embeds=batch.embeds_BSD, **past.fill(rows, [past.filled] * len(begun), count))
        with cutting(lm, layers, hidden_B1S):
            while any(is_open):
                embeds_B1D = lm.embedding(torch.tensor(last, device=lm.device)[:, None])
                inputs = past.fill(rows, [column] * len(begun), 1)
                last = next_tokens(lm, decoder(inputs_embeds=embeds_B1D, **inputs).last_hidden_state[:, 0]).tolist()
                column += 1
                for b, token in enumerate(last):
                    if is_open[b]:
                        said[b].append(token)
                        is_open[b] = not ending.after(said[b])
    return said


def _hidden(begun: Sequence[Begun], pads: Sequence[int], shared: int, columns: int, device: torch.device) -> Tensor:
    """Return the hidden columns where they lie in the batch: `[shared head][pad][question][rationale]`."""
    hidden_B1S = torch.zeros(len(begun), 1, columns, dtype=torch.bool, device=device)
    for b, (each, pad) in enumerate(zip(begun, pads, strict=True)):
        hidden_B1S[b, 0, [column if column < shared else column + pad for column in each.hidden]] = True
    return hidden_B1S
