"""How far outputs under two prompts differ on one continuation. Axes: B question, T its tokens, V vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.lm.examples import Example
from dpc.lm.layout import Layout, right_padded
from dpc.lm.models import LanguageModel


@dataclass(frozen=True)
class Change:
    """Means over the positions of one continuation, under a prompt and under another one."""

    raw: float
    """Of (1 / |V|) sum_x (l_x - l'_x)^2, squared logits: what is published, though logits may all shift."""
    centred: float
    """The same once each position's logits have mean 0."""
    kl: float
    """Of KL(p || p') in nats."""
    agreement: float
    """Share of positions at which the likeliest token is the same."""


@torch.no_grad()
def changes(
    lm: LanguageModel, layout: Layout, prompt: Tensor, other: Tensor, examples: Sequence[Example]
) -> list[Change]:
    """Return how far the model's outputs on each continuation, teacher-forced, change from one prompt to the other.

    A prompt is that of all questions (N x D), or that of each (B x N x D).
    """
    before, after = (_hidden(lm, layout, one, examples) for one in (prompt, other))
    # a vocabulary of 128k times all questions at once would be gigabytes
    return [_change(*(lm.logits(each).float() for each in pair)) for pair in zip(before, after, strict=True)]


def _hidden(lm: LanguageModel, layout: Layout, prompt: Tensor, examples: Sequence[Example]) -> list[Tensor]:
    """Return the decoder's outputs that predict each continuation (T x D each)."""
    questions, answers = (
        [list(getattr(each, name)) for each in examples] for name in ("question_ids", "rationale_ids")
    )
    laid = right_padded(lm, layout, prompt, questions, answers)
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=laid.embeds_BSD).last_hidden_state
    rows = map(laid.predicting_rows, range(len(examples)))
    return [hidden_BSD[b, row.start : row.stop] for b, row in enumerate(rows)]


def _change(logits_TV: Tensor, other_TV: Tensor) -> Change:
    gap_TV = logits_TV - other_TV
    log_p_TV, log_q_TV = logits_TV.log_softmax(-1), other_TV.log_softmax(-1)
    kl_T = (log_p_TV.exp() * (log_p_TV - log_q_TV)).sum(-1).clamp(min=0)
    return Change(
        raw=float(gap_TV.square().mean()),
        centred=float((gap_TV - gap_TV.mean(-1, keepdim=True)).square().mean()),
        kl=float(kl_T.mean()),
        agreement=float((logits_TV.argmax(-1) == other_TV.argmax(-1)).float().mean()),
    )
