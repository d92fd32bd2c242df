"""The negative log-likelihood of rationale tokens, and what a pass that ends in it can be spared.

Axes: B batch, S position, D width, V vocabulary, K target token, C target tokens at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from dpc.lm.layout import RightPadded
from dpc.lm.models import LanguageModel, other_forwards

AT_ONCE = 256
"""Target tokens whose logits are there at once: enough to keep a GPU busy, few enough to be small."""


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
    is_entropy_wanted: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return, per row, NLL and entropy in nats at its first `limit` rationale tokens; no entropy unless it is wanted.

    The entropy is that of the next-token distribution, and has no gradient. `hidden_BSD` are the decoder's outputs from
    position `first` on. Logits are made at the predicting rows only: a vocabulary of 128k times every position would be
    gigabytes.
    """
    kept = [batch.predicting_rows(b)[:limit] for b in range(len(batch.rationale_ids))]
    rows = torch.tensor([b for b, positions in enumerate(kept) for _ in positions], device=hidden_BSD.device)
    columns = torch.tensor([s - first for positions in kept for s in positions], device=hidden_BSD.device)
    targets_K = torch.tensor([t for ids in batch.rationale_ids for t in ids[:limit]], device=hidden_BSD.device)
    entropies = list[Tensor]() if is_entropy_wanted else None
    nll_K = _TokenNll.apply(hidden_BSD[rows, columns], targets_K, lm, torch.is_grad_enabled(), entropies)
    lengths = [len(positions) for positions in kept]
    return list(nll_K.split(lengths)), list(torch.cat(entropies).split(lengths)) if entropies else []


def only_last_rows(lm: LanguageModel, count: int) -> AbstractContextManager[None]:
    """Spare the last layer what follows its attention in all but each sequence's last `count` rows: 0 stands there.

    No later layer reads those rows, and a loss on the rows kept does not either.
    """

    def spared(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def of_last(hidden_BSD: Tensor) -> Tensor:
            kept_BSD = forward(hidden_BSD[:, -count:])
            return nn.functional.pad(kept_BSD, (0, 0, hidden_BSD.shape[1] - kept_BSD.shape[1], 0))

        return of_last

    layer = lm.model.get_decoder().layers[-1]
    return other_forwards([layer.self_attn.o_proj, layer.mlp], spared)


class _TokenNll(torch.autograd.Function):
    """The NLL of `targets_K` after `hidden_KD`; what it needs for the backward pass is as large as `hidden_KD`.

    A token's loss depends on its own row alone, so its gradient is known as soon as its logits are, and they can go.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden_KD: Tensor,
        targets_K: Tensor,
        lm: LanguageModel,
        is_wanted: bool,
        entropies: list[Tensor] | None,
    ) -> Tensor:
        found, gradients = list[Tensor](), list[Tensor]()
        for chunk_CD, targets_C in zip(hidden_KD.split(AT_ONCE), targets_K.split(AT_ONCE), strict=True):
            with torch.set_grad_enabled(is_wanted):
                leaf_CD = chunk_CD.detach().requires_grad_(is_wanted)
                logits_CV = lm.logits(leaf_CD)
            log_CV = _wide(logits_CV.detach()).log_softmax(-1)
            places = torch.arange(len(targets_C), device=targets_C.device), targets_C
            found.append(-log_CV[places])
            if not is_wanted and entropies is None:
                continue
            p_CV = log_CV.exp()
            if entropies is not None:
                entropies.append(-torch.linalg.vecdot(p_CV, log_CV))
            if is_wanted:  # dNLL / dlogits = p - 1 at the target
                p_CV[places] -= 1
                gradients += torch.autograd.grad(logits_CV, leaf_CD, p_CV.to(logits_CV.dtype))
        if is_wanted:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, *of_K: Tensor) -> Any:
        (gradient_KD,) = ctx.saved_tensors
        return (gradient_KD * of_K[0][:, None]).to(gradient_KD.dtype), None, None, None, None


def _wide(logits_CV: Tensor) -> Tensor:
    """Return logits in float32, or in float64 where they are."""
    return logits_CV.to(logits_CV.dtype if logits_CV.dtype == torch.float64 else torch.float32)
