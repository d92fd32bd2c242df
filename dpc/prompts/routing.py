"""Which of several prompts a question is asked under: the router of a mixture of prompts (SMoP, EMNLP 2023).

A mixture is one tensor (K x M x D, float32, M = N + 1): each of K prompts with its row of the router behind it.
Axes: B question, K prompt, N prompt vector, M vectors and the router's row, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpc.lm.models import LanguageModel


def means(lm: LanguageModel, questions: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean input embedding of each question (B x D, float32): what the router reads."""
    embedded = [lm.embedding(torch.tensor(list(ids), device=lm.device)) for ids in questions]
    return torch.stack([each_TD.float().mean(0) for each_TD in embedded])


def probabilities(mixture_KMD: Tensor, means_BD: Tensor, noise_BK: Tensor | None = None) -> Tensor:
    """Return the probability of each prompt (B x K): softmax of logits x (1 + noise), the noise's scale detached."""
    logits_BK = means_BD @ mixture_KMD[:, -1].T
    if noise_BK is not None:
        logits_BK = logits_BK + noise_BK * logits_BK.detach()
    return logits_BK.softmax(-1)


def chosen(mixture_KMD: Tensor, means_BD: Tensor, noise_BK: Tensor | None = None) -> Tensor:
    """Return each question's prompt (B x N x D): the likeliest one, of equals the first, times its probability.

    The factor is the only way by which a gradient reaches the router.
    """
    likeliest = probabilities(mixture_KMD, means_BD, noise_BK).max(-1)
    return likeliest.values[:, None, None] * mixture_KMD[likeliest.indices, :-1]
