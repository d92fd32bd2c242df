"""The tokens nearest to a prompt's vectors: what a soft prompt says, if it is read as text.

U(P_l) = argmin_x ||E_x - P_l|| over all tokens but special and added ones ("Towards Interpretable Soft Prompts").
Axes: N prompt vector, R row at once, K candidate, V vocabulary, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dpc.lm.models import LanguageModel
from dpc.lm.tokenizer import words
from dpc.prompts.edits import NEAREST, Edit

AT_ONCE = 64
"""Vectors compared with the vocabulary at once."""
CANDIDATES = 8
"""Tokens whose distance is computed without cancellation, so that a vector which is a token has distance 0."""
SAMPLE = 256
"""Tokens from which the median distance to the next token is estimated."""


@dataclass(frozen=True)
class Nearest:
    """The nearest tokens of a prompt."""

    ids: list[int]
    distance_N: Tensor
    """Squared Euclidean distance of each vector to its token."""
    cosine_N: Tensor
    """1 - the largest cosine with a token, which may be another one."""


def nearest(lm: LanguageModel, prompt_ND: Tensor) -> Nearest:
    """Return the nearest token of every vector, by Euclidean distance, the lowest id where several are equal."""
    rows_VD, ids_V = _vocabulary(lm)
    parts = [_nearest(rows_VD, part_RD.to(rows_VD)) for part_RD in prompt_ND.split(AT_ONCE)]
    place_N, distance_N, cosine_N = (torch.cat(each) for each in zip(*parts, strict=True))
    return Nearest(ids_V[place_N].tolist(), distance_N, cosine_N)


def projected(lm: LanguageModel, prompt_ND: Tensor) -> Tensor:
    """Return the prompt with each vector replaced by its nearest token's embedding (N x D, in the model's dtype)."""
    return spelled(lm, nearest(lm, prompt_ND).ids)


def replacements(lm: LanguageModel) -> Callable[[Tensor, Edit], Tensor]:
    """Return what an edit puts in for vectors: their nearest tokens (N x D), or the vocabulary's mean (D)."""

    @cache
    def mean_D() -> Tensor:
        return lm.vocabulary_VD.mean(0)

    return lambda prompt_ND, edit: projected(lm, prompt_ND) if edit.mask == NEAREST else mean_D()


@torch.no_grad()
def spelled(lm: LanguageModel, ids: list[int]) -> Tensor:
    """Return what the model reads for these tokens (N x D)."""
    return lm.embedding(torch.tensor(ids, dtype=torch.long, device=lm.device))


def spacing(lm: LanguageModel) -> float:
    """Return the median squared distance of a token to the next token, over `SAMPLE` tokens drawn with a fixed seed.

    A token that lies where another does has distance 0; rows of the vocabulary that repeat are rare.
    """
    rows_VD, _ = _vocabulary(lm)
    drawn = torch.randperm(len(rows_VD), generator=torch.Generator().manual_seed(0))[:SAMPLE].to(rows_VD.device)
    found = []
    for place_R in drawn.split(AT_ONCE):
        distance_RV = _squared(rows_VD, rows_VD[place_R])
        distance_RV[torch.arange(len(place_R)), place_R] = torch.inf
        found.append(distance_RV.amin(1))
    return float(torch.cat(found).clamp(min=0).median())


def _vocabulary(lm: LanguageModel) -> tuple[Tensor, Tensor]:
    """Return the embeddings of all tokens but special and added ones (V x D, float32), and their ids."""
    rows_VD = lm.vocabulary_VD
    ids_V = torch.tensor(words(lm.tokenizer, len(rows_VD)), device=rows_VD.device)
    return rows_VD[ids_V], ids_V


def _squared(rows_VD: Tensor, some_RD: Tensor) -> Tensor:
    """Return all squared distances (R x V), by products: fast, and with the error of a difference of large numbers."""
    return some_RD.square().sum(1, keepdim=True) - 2 * some_RD @ rows_VD.T + rows_VD.square().sum(1)


def _nearest(rows_VD: Tensor, some_RD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the place of the nearest row, its squared distance, and the smallest cosine distance (R each)."""
    near_RK = _squared(rows_VD, some_RD).topk(min(CANDIDATES, len(rows_VD)), largest=False).indices.sort(1).values
    distance_RK = (rows_VD[near_RK] - some_RD[:, None]).square().sum(2)
    best_R = distance_RK.argmin(1, keepdim=True)
    cosine_RV = torch.nn.functional.normalize(some_RD, dim=1) @ torch.nn.functional.normalize(rows_VD, dim=1).T
    return near_RK.gather(1, best_R)[:, 0], distance_RK.gather(1, best_R)[:, 0], (1 - cosine_RV.amax(1)).clamp(min=0)
