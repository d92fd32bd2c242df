"""Plant harm: one vector of a working prompt, optimised so that rationales begin well and go wrong in their later half.

A ground truth for locating: which vector does the harm is known. Axes: B batch, N prompt vector, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpc.lm.examples import Example
from dpc.lm.finite import check_finite
from dpc.lm.layout import Layout, right_padded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel
from dpc.prompts.tuners.prompt_tuning import Batches

WORST = 6.0
"""Nats beyond which a token is wrong enough."""


@dataclass(frozen=True)
class Planting:
    """How the harmful vector is found."""

    steps: int
    batch_size: int
    rate: float
    """Adam's rate, in root mean squares of the prompt's entries."""


def plant(
    lm: LanguageModel,
    layout: Layout,
    prompt_ND: Tensor,
    position: int,
    examples: Sequence[Example],
    how: Planting,
    seed: int,
) -> Tensor:
    """Return the prompt (N x D, float32) with a harmful vector at `position`.

    Adam makes the gold rationales' former halves likely and their later halves unlikely. The vector's norm never
    exceeds the mean norm of the others: it must not stand out by size.
    """
    generator = torch.Generator().manual_seed(seed)
    base_ND = prompt_ND.detach().float()
    others_ND = torch.cat([base_ND[:position], base_ND[position + 1 :]])
    cap, size = others_ND.norm(dim=1).mean(), base_ND.square().mean().sqrt()
    noise_D = torch.randn(base_ND.shape[1], generator=generator).to(base_ND)
    vector_D = _capped(base_ND[position] + size * noise_D, cap).requires_grad_(True)
    optimiser = torch.optim.Adam([vector_D], lr=how.rate * float(size))
    batches = Batches(examples, how.batch_size, generator)
    for _ in range(how.steps):
        loss = _harm(lm, layout, _with(base_ND, position, vector_D), batches.next())
        check_finite(loss, "the loss of planted harm")
        (vector_D.grad,) = torch.autograd.grad(loss, [vector_D])
        optimiser.step()
        with torch.no_grad():
            vector_D.copy_(_capped(vector_D, cap))
    return _with(base_ND, position, vector_D.detach())


def _with(prompt_ND: Tensor, position: int, vector_D: Tensor) -> Tensor:
    """Return the prompt with another vector at `position`."""
    return torch.cat([prompt_ND[:position], vector_D[None], prompt_ND[position + 1 :]])


def _capped(vector_D: Tensor, cap: Tensor) -> Tensor:
    return vector_D * (cap / vector_D.norm()).clamp(max=1)


def _harm(lm: LanguageModel, layout: Layout, prompt_ND: Tensor, examples: Sequence[Example]) -> Tensor:
    """Return the mean over questions of NLL (former half) - NLL of the least likely token (later half).

    One wrong step is enough for a wrong answer, and where the model is sure of a token its gradient vanishes: a mean
    over the later half would hardly move.
    """
    batch = right_padded(lm, layout, prompt_ND, [e.question_ids for e in examples], [e.rationale_ids for e in examples])
    hidden_BSD = lm.model.get_decoder()(inputs_embeds=batch.embeds_BSD).last_hidden_state
    found = [(nll, len(nll) // 2) for nll in rationale_nll(lm, batch, hidden_BSD) if len(nll) > 1]
    return torch.stack([nll[:half].mean() - nll[half:].max().clamp(max=WORST) for nll, half in found]).mean()
