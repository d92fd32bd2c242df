"""Brute force in float64 beside which interventions are held: whole sequences one at a time, no cache, scores of −∞."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dpc.lm.layout import Layout, shared_prefix
from dpc.lm.models import LanguageModel
from tests.support import tiny

EXACT = 1e-12
"""Of float64."""


@dataclass
class Slow:
    """Attention written out: what it is told to hide has a score of −∞, what it is told to swap is another's."""

    hidden: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By layer: pairs of a first row and a column that it and later rows do not see."""
    given: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer: keys and values of columns from `start` on."""
    start: int = 0
    seen: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)
    """By layer: keys, values and attention of the last pass."""

    def __call__(self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float,
                 softcap: float | None = None, **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
        layer = module.layer_idx
        if layer in self.given:
            keys, values = self.given[layer]
            where = slice(self.start, self.start + keys.shape[2])
            key, value = key.clone(), value.clone()
            key[:, :, where], value[:, :, where] = keys, values
        group = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(group, 1).mT * scaling
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        rows = torch.arange(query.shape[2])
        back = rows[:, None] - rows
        window = kwargs.get("sliding_window") or 10**6
        scores = scores.masked_fill((back < 0) | (back >= window), -torch.inf)
        for first, column in self.hidden.get(layer, []):
            scores[:, :, first:, column] = -torch.inf
        a = scores.softmax(-1)
        self.seen[layer] = key, value, a
        return (a @ value.repeat_interleave(group, 1)).transpose(1, 2), None


@contextmanager
def attending(lm: LanguageModel, slow: Slow) -> Iterator[None]:
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    before = lm.model.config._attn_implementation
    AttentionInterface.register("slow", slow)
    AttentionMaskInterface.register("slow", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    lm.model.set_attn_implementation("slow")
    try:
        yield
    finally:
        lm.model.set_attn_implementation(before)


class Later(Slow):
    """Only rows behind the head see the swapped states: the prompt's own rows were there before."""

    head = 0

    def __call__(self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float,
                 **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
        given, self.given = self.given, {}
        before = super().__call__(module, query, key, value, mask, scaling, **kwargs)[0]
        self.given = given
        after = super().__call__(module, query, key, value, mask, scaling, **kwargs)[0]
        return torch.cat([before[:, : self.head], after[:, self.head :]], 1), None


def behind(given: dict[int, tuple[Tensor, Tensor]], where: slice, seen: int) -> Slow:
    slow = Later(given=given, start=where.start)
    slow.head = seen
    return slow


def model_of(family: str) -> LanguageModel:
    lm = tiny.model(family, torch.float64)
    tiny.exact_norms(lm)
    return lm


def true_nll(lm: LanguageModel, head_KD: Tensor, question: Sequence[int], said: Sequence[int], slow: Slow) -> Tensor:
    """The NLL of each token that is said to a question behind a head."""
    embeds_1SD = torch.cat([head_KD, lm.embedding(torch.tensor([*question, *said]))])[None]
    with attending(lm, slow), torch.enable_grad():
        hidden_SD = lm.model.get_decoder()(inputs_embeds=embeds_1SD, use_cache=False).last_hidden_state[0]
        start = len(head_KD) + len(question) - 1
        logits_TV = lm.logits(hidden_SD[start : start + len(said)])
    return torch.nn.functional.cross_entropy(logits_TV, torch.tensor(said), reduction="none")


def embeds(lm: LanguageModel, layout: Layout, prompt_ND: Tensor | None) -> Tensor:
    return shared_prefix(lm, layout, [prompt_ND], [()])
