"""The negative log-likelihood of rationale tokens, its gradient, and the entropy they were chosen from.

Axes: B batch, S position, D width, V vocabulary, K target token, C target tokens at once, c target tokens in cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dpc.lm.layout import RightPadded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency.attention import soften, wide

LOGITS = {"cpu": 2**26, "cuda": 2**29}
"""Bytes of logits that are there at once: many rows for each time the weights are read, and still small."""
CACHED = {"cpu": 2**20, "cuda": 2**29}
"""Bytes of them, as float32, that are worked on at once: what a CPU's cache holds."""


def rationale_nll(
    lm: LanguageModel, batch: RightPadded, hidden_BSD: Tensor, first: int = 0, limit: int | None = None
) -> list[Tensor]:
    """Return, per row, the NLL in nats of its first `limit` rationale tokens (all if None).

    See `rationale_scores`.
    """
    return rationale_scores(lm, batch, hidden_BSD, first, limit)[0]


def rationale_scores(
    lm: LanguageModel,
    batch: RightPadded,
    hidden_BSD: Tensor,
    first: int = 0,
    limit: int | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return, per row, NLL and entropy in nats at its first `limit` rationale tokens (all if None).

    The entropy is that of the next-token distribution, and has no gradient. `hidden_BSD` are the decoder's outputs from
    position `first` on. Logits are made at the predicting rows only: a vocabulary of 128k times every position would be
    gigabytes.
    """
    kept = [batch.predicting_rows(b)[:limit] for b in range(len(batch.rationale_ids))]
    rows = torch.tensor([b for b, positions in enumerate(kept) for _ in positions], device=hidden_BSD.device)
    columns = torch.tensor([s - first for positions in kept for s in positions], device=hidden_BSD.device)
    return packed_scores(lm, hidden_BSD[rows, columns], [ids[:limit] for ids in batch.rationale_ids])


def packed_scores(
    lm: LanguageModel, hidden_KD: Tensor, target_ids: Sequence[Sequence[int]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return, per row, NLL and entropy of its targets, the decoder's outputs for all of which follow one another."""
    targets_K = torch.tensor([t for ids in target_ids for t in ids], device=hidden_KD.device)
    nll_K, entropy_K = TokenNll.apply(hidden_KD, targets_K, Head.of(lm), torch.is_grad_enabled())
    lengths = [len(ids) for ids in target_ids]
    return list(nll_K.split(lengths)), list(entropy_K.split(lengths))


@dataclass(frozen=True)
class Head:
    """What makes logits of the decoder's outputs."""

    weight_VD: Tensor
    softcap: float | None = None
    """Logits are softcap * tanh(logits / softcap) (Gemma 2)."""

    @classmethod
    def of(cls, lm: LanguageModel) -> Head:
        """Return the head of `lm`; no supported family has a bias there."""
        softcap = getattr(lm.model.config, "final_logit_softcapping", None)
        return cls(lm.model.get_output_embeddings().weight.detach(), softcap)


class TokenNll(torch.autograd.Function):
    """NLL and entropy of `targets_K` after `hidden_KD`; the backward pass needs no more than `hidden_KD` has entries.

    A token's loss depends on its own row alone, so its gradient is known as soon as its logits are, and they can go.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_KD: Tensor, targets_K: Tensor, head: Head, is_gradient_wanted: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the NLL and, without a gradient, the entropy (K, nats; float32, or float64 where the model is)."""
        weight_VD = head.weight_VD  # tied weights may lie on another card
        inputs_KD, targets_K = hidden_KD.detach().to(weight_VD.device), targets_K.to(weight_VD.device)
        nll_K = torch.empty_like(targets_K, dtype=wide(weight_VD.dtype))
        entropy_K, gradient_KD = torch.empty_like(nll_K), torch.empty_like(inputs_KD) if is_gradient_wanted else None
        step = _rows_in(LOGITS, len(inputs_KD), len(weight_VD), weight_VD)
        room_CV = weight_VD.new_empty(step, len(weight_VD))
        for rows in _cut(len(inputs_KD), step):
            logits_CV = room_CV[: rows.stop - rows.start]
            torch.mm(inputs_KD[rows], weight_VD.T, out=logits_CV)
            nll_K[rows], entropy_K[rows] = _to_slopes(logits_CV, targets_K[rows], head.softcap)
            if gradient_KD is not None:
                torch.mm(logits_CV, weight_VD, out=gradient_KD[rows])
        entropy_K = entropy_K.to(hidden_KD.device)
        if gradient_KD is not None:
            ctx.save_for_backward(gradient_KD.to(hidden_KD.device))
        ctx.mark_non_differentiable(entropy_K)
        return nll_K.to(hidden_KD.device), entropy_K

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes_K: Tensor) -> Any:
        """Return dL/dhidden, each row's gradient times dL/dNLL."""
        (gradient_KD,) = ctx.saved_tensors
        return (gradient_KD * slopes_K[0][:, None]).to(gradient_KD.dtype), None, None, None


def _to_slopes(logits_CV: Tensor, targets_C: Tensor, softcap: float | None) -> tuple[Tensor, Tensor]:
    """Return NLL and entropy (C), and overwrite the uncapped logits with dNLL/dlogits.

    A few rows at a time, so that all passes over a row but the first find it in cache.
    """
    nll_C = torch.empty_like(targets_C, dtype=wide(logits_CV.dtype))
    entropy_C = torch.empty_like(nll_C)
    step = _rows_in(CACHED, len(logits_CV), logits_CV.shape[1], nll_C)
    rooms = [nll_C.new_empty(step, logits_CV.shape[1]) for _ in range(2)]
    for rows in _cut(len(logits_CV), step):
        cached = (room_cV[: rows.stop - rows.start] for room_cV in rooms)
        nll_C[rows], entropy_C[rows] = _in_cache(logits_CV[rows], targets_C[rows, None], softcap, *cached)
    return nll_C, entropy_C


def _in_cache(
    logits_cV: Tensor, target_c1: Tensor, softcap: float | None, shifted_cV: Tensor, p_cV: Tensor
) -> tuple[Tensor, Tensor]:
    """Do `_to_slopes` on rows that fit into cache; what is in `shifted_cV` and `p_cV` is lost.

    With logits shifted so that the largest is 0, p there is 1 / the sum, and no term of the entropy cancels another.
    """
    shifted_cV.copy_(logits_cV)
    if softcap is not None:
        soften(shifted_cV, softcap)
    largest_c1 = shifted_cV.amax(-1, keepdim=True)
    torch.softmax(shifted_cV.sub_(largest_c1), -1, out=p_cV)
    log_sum_c1 = -p_cV.amax(-1, keepdim=True).log()
    nll_c = (log_sum_c1 - shifted_cV.gather(1, target_c1))[:, 0]
    entropy_c = log_sum_c1[:, 0] - torch.linalg.vecdot(p_cV, shifted_cV)
    p_cV.scatter_add_(1, target_c1, p_cV.new_full(target_c1.shape, -1))  # dNLL / dlogits = p - 1 at the target
    if softcap is not None:
        capped_cV = shifted_cV.add_(largest_c1).div_(softcap)
        p_cV.mul_(capped_cV.square_().neg_().add_(1))  # d capped / d uncapped = 1 - tanh^2
    logits_cV.copy_(p_cV)
    return nll_c, entropy_c


def _rows_in(room: dict[str, int], rows: int, entries: int, like: Tensor) -> int:
    """Return how many of `rows` rows of so many entries fit into a device's room; at least one."""
    bytes_ = room["cpu" if like.device.type == "cpu" else "cuda"]
    return max(1, min(rows, bytes_ // (entries * like.dtype.itemsize)))


def _cut(count: int, step: int) -> Iterator[slice]:
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
