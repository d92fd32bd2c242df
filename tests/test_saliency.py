"""Lean saliency against an eager reference that keeps every attention matrix and its gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dpc.lm import saliency
from dpc.lm.layout import Layout, RightPadded, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency import GROUPS, Request, measure
from tests import tiny

VECTORS = 5
FAMILIES = ("llama-mha", "llama-gqa", "mistral", "qwen2", "qwen3")


def sequences(seed: int = 3) -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = ((11, 14), (6, 9), (3, 20))
    draw = [[torch.randint(3, 60, (n,), generator=generator).tolist() for n in pair] for pair in lengths]
    return [q for q, _ in draw], [r for _, r in draw]


def prompt(lm: LanguageModel) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(VECTORS, tiny.SHAPE["hidden_size"], generator=generator, dtype=torch.float64).to(
        lm.embedding.weight
    )


def exact_norms(lm: LanguageModel) -> None:
    """RMSNorm rounds float64 to float32; take that out, so that float64 means float64."""
    for module in lm.model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            epsilon = module.variance_epsilon

            def forward(x: Tensor, weight: Tensor = module.weight, epsilon: float = epsilon) -> Tensor:
                return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + epsilon)

            module.forward = forward


def eager_maps(lm: LanguageModel, batch: RightPadded, starts: list[int]) -> tuple[list[Tensor], Tensor]:
    """Return per layer A * dL/dA (B, H, S, S) with every matrix kept, and the loss; softmax in the model's dtype."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    kept: dict[int, Tensor] = {}

    def eager(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, scaling: float, **more: Any) -> Any:
        groups, length = query.shape[1] // key.shape[1], query.shape[2]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        distance = torch.arange(length)[:, None] - torch.arange(length)[None]
        hidden = (distance < 0) | (distance >= (more.get("sliding_window") or length))
        attention = (query @ key.transpose(-1, -2) * scaling).masked_fill(hidden, float("-inf")).softmax(-1)
        attention.retain_grad()
        kept[module.layer_idx] = attention
        return (attention @ value).transpose(1, 2).contiguous(), None

    AttentionInterface.register("eager_reference", eager)
    AttentionMaskInterface.register("eager_reference", lambda *a, **k: None)
    lm.model.set_attn_implementation("eager_reference")
    embeds = batch.embeds_BSD.detach().requires_grad_(True)
    logits = lm.model(inputs_embeds=embeds, use_cache=False).logits
    loss = torch.zeros((), dtype=logits.dtype)
    for b, ids in enumerate(batch.rationale_ids):
        rows = batch.predicting_rows(b)
        nll = -logits[b, rows.start : rows.stop].log_softmax(-1).gather(1, torch.tensor(ids)[:, None])[:, 0]
        loss = loss + nll[starts[b] :].mean()
    loss.backward()
    lm.model.set_attn_implementation("sdpa")
    return [(kept[layer] * kept[layer].grad).detach() for layer in sorted(kept)], loss.detach()


def reduce_heads(signed_BHSS: Tensor, head_reduce: str) -> Tensor:
    return signed_BHSS.abs().mean(1) if head_reduce == "abs_mean" else signed_BHSS.mean(1).abs()


def worst(found: Tensor, truth: Tensor) -> float:
    """Largest error relative to the largest value; the last layer is truly 0 outside rows that predict a token."""
    return float((found - truth).abs().max() / truth.abs().max().clamp_min(1e-300))


def reference_groups(map_BSS: Tensor, batch: RightPadded, start: int, cuts: list[tuple[int, int]]) -> Tensor:
    """Sum a map over column groups token by token, in plain loops: slow, and easy to believe."""
    batch_size, length, _ = map_BSS.shape
    sums = torch.zeros(batch_size, length, len(GROUPS), dtype=map_BSS.dtype)
    for b in range(batch_size):
        question = batch.question_start
        rationale = question + batch.question_tokens[b]
        end = rationale + len(batch.rationale_ids[b])
        columns = (
            range(start, start + VECTORS), range(question, rationale), range(rationale, end),
            range(rationale, rationale + cuts[b][0]), range(rationale, rationale + cuts[b][1]),
        )  # fmt: skip
        for group, group_columns in enumerate(columns):
            for row in range(length):
                sums[b, row, group] = sum(map_BSS[b, row, j] for j in group_columns if j < row)
    return sums


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
@pytest.mark.parametrize("head_reduce", ["abs_mean", "sum_abs"])
def test_every_reduction_equals_the_eager_reference(family: str, order: str, head_reduce: str, monkeypatch) -> None:
    monkeypatch.setattr(saliency, "TILE_ROWS", 7)  # so that tiles end inside every segment
    lm = tiny.model(family, torch.float64)
    exact_norms(lm)
    layout, (questions, rationales) = Layout(order, has_bos=True), sequences()
    batch = right_padded(lm, layout, prompt(lm), questions, rationales)
    cuts, starts = [(7, 5), (4, 6), (10, 1)], [0, 3, 8]
    signed, loss = eager_maps(lm, batch, starts)
    truth = [reduce_heads(layer, head_reduce) for layer in signed]

    request = Request(head_reduce, band=range(1, 3), full=(range(0, 2), range(2, 3)))
    found = measure(lm, layout, batch, VECTORS, cuts, starts, request)

    assert worst(found.full_BSS[0], (truth[0] + truth[1]) / 2) < 1e-12
    assert worst(found.full_BSS[1], truth[2]) < 1e-12
    start = layout.prompt_start()
    for layer, map_BSS in enumerate(truth):
        assert worst(found.groups_BLSG[:, layer], reference_groups(map_BSS, batch, start, cuts)) < 1e-12
    band_BSN = sum(truth[layer].tril(-1)[:, :, start : start + VECTORS] for layer in (1, 2))
    assert worst(found.band_BSN, band_BSN) < 1e-12
    for b in range(len(questions)):
        rows = batch.predicting_rows(b)
        spans = (range(batch.question_start, rows.start), rows)
        for layer, map_BSS in enumerate(truth):
            for group, span in enumerate(spans):
                column_N = map_BSS[b, span.start : span.stop, start : start + VECTORS].sum(0)
                assert worst(found.prompt_BLRN[b, layer, group], column_N) < 1e-12
    mean_nll = sum(float(nll[s:].mean()) for nll, s in zip(found.nll, starts, strict=True))
    assert mean_nll == pytest.approx(float(loss), rel=1e-12)


def one_map(lm: LanguageModel, order: str = "bos_first") -> tuple[Tensor, RightPadded]:
    layout, (questions, rationales) = Layout(order, has_bos=True), sequences()
    batch = right_padded(lm, layout, prompt(lm), questions, rationales)
    zeros = [(0, 0)] * len(questions)
    found = measure(lm, layout, batch, VECTORS, zeros, [0] * len(questions), Request(full=(range(3),)))
    return found.full_BSS[0], batch


def test_upper_triangle_padding_and_the_last_row_carry_nothing() -> None:
    map_BSS, batch = one_map(tiny.model())
    assert float(map_BSS.triu(1).abs().max()) == 0
    for b, ids in enumerate(batch.rationale_ids):
        end = batch.predicting_rows(b).start + len(ids)
        assert float(map_BSS[b, end:].abs().max()) == 0  # the last token's row, and padding after it
        assert float(map_BSS[b, :, end + 1 :].abs().sum()) == 0
        assert float(map_BSS[b, end - 1].max()) > 0


def test_a_row_alone_equals_the_row_in_a_ragged_batch() -> None:
    lm, layout = tiny.model(dtype=torch.float64), Layout("bos_first", has_bos=True)
    questions, rationales = sequences()
    request = Request(band=range(3))
    together = right_padded(lm, layout, prompt(lm), questions, rationales)
    cuts = [(len(r) // 2, 1) for r in rationales]
    whole = measure(lm, layout, together, VECTORS, cuts, [0, 0, 0], request)
    for b in range(3):
        alone = right_padded(lm, layout, prompt(lm), questions[b : b + 1], rationales[b : b + 1])
        single = measure(lm, layout, alone, VECTORS, cuts[b : b + 1], [0], request)
        length = alone.embeds_BSD.shape[1]
        assert worst(whole.groups_BLSG[b, :, :length], single.groups_BLSG[0]) < 1e-6
        assert worst(whole.prompt_BLRN[b], single.prompt_BLRN[0]) < 1e-6


def test_mass_planted_in_one_vector_is_found_there() -> None:
    """A vector whose keys dominate takes the attention, and with it the saliency of its column."""
    lm, layout = tiny.model(), Layout("bos_first", has_bos=True)
    planted = prompt(lm) * 0.01
    planted[3] = prompt(lm)[3] * 3
    batch = right_padded(lm, layout, planted, *sequences())
    found = measure(lm, layout, batch, VECTORS, [(0, 0)] * 3, [0] * 3, Request())
    assert found.prompt_BLRN.sum((0, 1, 2)).argmax() == 3


def test_weights_get_no_gradient_and_the_attention_kernel_is_put_back() -> None:
    lm = tiny.model()
    one_map(lm)
    assert all(parameter.grad is None for parameter in lm.model.parameters())
    assert lm.model.config._attn_implementation == "sdpa"


def test_an_unsupported_family_is_refused_by_name() -> None:
    from dpc.errors import DpcError

    lm = tiny.model()
    lm.model.config.model_type = "gemma2"
    with pytest.raises(DpcError, match="gemma2"):
        one_map(lm)
