"""What other measures say of each prompt vector: attention, value-weighted flow, gradient x input.

Axes: B batch, H head, Q row, S column, N prompt vector, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from dpc.lm.causal.heads import Head
from dpc.lm.causal.passes import Body, laid_out, run
from dpc.lm.layout import Layout, right_padded
from dpc.lm.losses import rationale_nll
from dpc.lm.models import LanguageModel, other_forwards
from dpc.lm.sparing import checkpointed, lean_layers, rows_within


@torch.inference_mode()
def flows(lm: LanguageModel, head: Head, body: Body, layers: range) -> tuple[Tensor, Tensor]:
    """Return two B x N: the mean attention to each vector, and the mean length |A v| of the value that it sends.

    Means over these layers, all heads, and the rows of question and rationale that predict a token. Source of the
    second: Kobayashi et al. (2020), Attention is not only a weight, without the output matrix.
    """
    batch, found = laid_out(lm, head, body), [list[Tensor](), list[Tensor]()]
    lengths = [q + len(r) - 1 for q, r in zip(batch.question_tokens, batch.rationale_ids, strict=True)]
    rows_B1 = torch.tensor(lengths, device=lm.device)[:, None]
    is_row_BQ = torch.arange(batch.embeds_BSD.shape[1], device=lm.device) < rows_B1

    def make(forward: Any) -> Any:
        def watched(*args: Any, **kwargs: Any) -> Any:
            output, a_BHQS = forward(*args, **kwargs)
            sums_BHN = (_wide(a_BHQS[..., head.prompt]) * is_row_BQ[:, None, :, None]).sum(2)
            values_BJKD = head.states[layers[len(found[0])]][1]
            norm_BHN = _wide(values_BJKD[:, :, head.prompt]).norm(dim=-1).repeat_interleave(
                sums_BHN.shape[1] // values_BJKD.shape[1], 1
            )  # fmt: skip
            found[0].append(sums_BHN.mean(1))
            found[1].append((sums_BHN * norm_BHN).mean(1))
            return output, a_BHQS

        return watched

    every = lm.model.get_decoder().layers
    with _eager(lm), other_forwards([every[layer].self_attn for layer in layers], make):
        run(lm, head, batch)
    attention_BN, flow_BN = (torch.stack(each).mean(0) / rows_B1 for each in found)
    return attention_BN, flow_BN


@contextmanager
def _eager(lm: LanguageModel) -> Iterator[None]:
    """Let attention give its weights, which fused kernels keep to themselves."""
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        lm.model.set_attn_implementation(before)


def gradient_times_input(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor, body: Body, is_checkpointed: bool
) -> Tensor:
    """Return |v . dL/dv| of each vector v (B x N); L is the mean NLL of a row's rationale.

    As many rows at once as a graph's memory allows.
    """
    columns = max(q + len(r) for q, r in zip(map(len, body.question_ids), body.rationale_ids, strict=True))
    size = rows_within(lm, layout.question_start(len(prompt_ND)) + columns)
    parts = (body.part(slice(start, start + size)) for start in range(0, len(body), size))
    with lean_layers(lm):
        return torch.cat([_gradient_times_input(lm, layout, prompt_ND, part, is_checkpointed) for part in parts])


def _gradient_times_input(
    lm: LanguageModel, layout: Layout, prompt_ND: Tensor, body: Body, is_checkpointed: bool
) -> Tensor:
    batch = right_padded(lm, layout, prompt_ND, body.question_ids, body.rationale_ids)
    leaf_BSD = batch.embeds_BSD.detach().requires_grad_(True)
    with torch.enable_grad(), checkpointed(lm, is_checkpointed):
        hidden_BSD = lm.model.get_decoder()(inputs_embeds=leaf_BSD, use_cache=False).last_hidden_state
        loss = torch.stack([nll.mean() for nll in rationale_nll(lm, batch, hidden_BSD)]).sum()
        (slope_BSD,) = torch.autograd.grad(loss, [leaf_BSD])
    prompt = slice(layout.prompt_start(), layout.prompt_start() + len(prompt_ND))
    return (_wide(slope_BSD[:, prompt]) * _wide(leaf_BSD.detach()[:, prompt])).sum(-1).abs()


def _wide(numbers: Tensor) -> Tensor:
    """Return float32 at least, in which sums are made (D28)."""
    return numbers.to(torch.promote_types(numbers.dtype, torch.float32))
