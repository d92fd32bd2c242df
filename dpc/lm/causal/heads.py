"""What stands in front of the question, as keys and values: made once for each prompt, and exchanged by layers.

Axes: B batch (1 where all rows share it), J key-value head, K column, N prompt vector, D width.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.lm.cache import States
from dpc.lm.grouped import grouped
from dpc.lm.layout import Layout, shared_prefix
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import states_of, tokens_at_once


@dataclass(frozen=True)
class Head:
    """BOS and prompt, or what was made of them."""

    states: States
    """Keys and values (B, J, K, D) of every layer."""
    prompt: slice
    """The prompt's columns."""

    @property
    def columns(self) -> int:
        """Return K."""
        return int(self.states[0][0].shape[2])


@torch.inference_mode()
def head_of(lm: LanguageModel, layout: Layout, prompts_BND: Tensor, extra_D: Tensor | None = None) -> Head:
    """Return the head of each prompt; `extra_D` is put in front of everything, where position 0 is."""
    embeds_BKD = torch.stack([shared_prefix(lm, layout, [prompt_ND], [()]) for prompt_ND in prompts_BND])
    start = layout.prompt_start()
    if extra_D is not None:
        extra_B1D = extra_D.to(embeds_BKD).expand(len(embeds_BKD), 1, -1)
        embeds_BKD, start = torch.cat([extra_B1D, embeds_BKD], 1), start + 1
    with grouped(lm):
        states = states_of(lm, embeds_BKD, tokens_at_once(lm))
    return Head(states, slice(start, start + prompts_BND.shape[1]))


def swapped(own: Head, other: Head, layers: Container[int]) -> Head:
    """Return `own` with the prompt's keys and values of `other` in these layers."""
    states = [
        (_mixed(own, mine[0], given[0]), _mixed(own, mine[1], given[1])) if layer in layers else mine
        for layer, (mine, given) in enumerate(zip(own.states, other.states, strict=True))
    ]
    return Head(states, own.prompt)


def _mixed(own: Head, mine_BJKD: Tensor, given_BJKD: Tensor) -> Tensor:
    mixed_BJKD = mine_BJKD.clone()
    mixed_BJKD[:, :, own.prompt] = given_BJKD[:, :, own.prompt]
    return mixed_BJKD
