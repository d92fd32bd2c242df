"""Does a prompt change the next token? Axes: B batch, S position, D width, N prompt vector, K target token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpc.lm.examples import Example
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel

TRIED = 16
"""So many examples are enough to see that a prompt does nothing."""


def changed_tokens(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor, examples: Sequence[Example]
) -> tuple[int, int]:
    """Return at how many rationale tokens of the first `TRIED` examples the likeliest token is another one with the
    prompt than without, the gold rationale before it given, and how many there are.
    """
    changed, tokens = 0, 0
    for example in examples[:TRIED]:
        with_K, without_K = (_likeliest(lm, layout, prompt, example) for prompt in (prompt_ND, None))
        changed, tokens = changed + int((with_K != without_K).sum()), tokens + len(with_K)
    return changed, tokens


@torch.no_grad()
def _likeliest(lm: LanguageModel, layout: Layout, prompt_ND: Tensor | None, example: Example) -> Tensor:
    """Return the likeliest token at each place of the rationale (K)."""
    laid = right_padded(lm, layout, prompt_ND, [example.question_ids], [example.rationale_ids])
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD).last_hidden_state
    rows = laid.predicting_rows(0)
    return lm.logits(hidden_BSD[0, rows.start : rows.stop]).argmax(-1)
