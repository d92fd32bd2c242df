"""Saliency from what decoding leaves of each row, against the same measured anew on the whole sequence.

That one is proved against an eager reference in `test_saliency.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dpc.lm.decoding import Generated, Limits, Request, generate
from dpc.lm.layout import Layout, RightPadded, right_padded
from dpc.lm.models import LanguageModel
from dpc.lm.saliency import attention, packed
from dpc.lm.saliency.measuring import measure
from dpc.lm.saliency.recorder import Reduced
from dpc.lm.saliency.recorder import Request as Asked
from dpc.lm.traces import Tracer
from tests.lm.test_saliency import EXACT, FAMILIES, VECTORS, prompt, small_tiles, worst
from tests.support import tiny

QUESTIONS = (11, 6, 3, 6, 6, 1)
"""Tokens; some are as long as others."""
DEEP = Asked(layers=range(2, 4), rows="rationale", band=range(2, 3))
LIMITS = Limits(14)
FLOAT32_SOFTMAX = 2e-6
"""Of Gemma 2's decoding: transformers' eager kernel rounds what it attends with to float32."""


def said(lm: LanguageModel, layout: Layout, drafts: bool = False) -> list[tuple[Request, Generated]]:
    """Return questions and their answers with traces, the longest question first; rows end at different tokens."""
    generator = torch.Generator().manual_seed(1)
    prompt_ND = prompt(lm)
    asked = [Request(torch.randint(3, 60, (n,), generator=generator).tolist(), prompt_ND) for n in QUESTIONS]
    ends = _answers(lm, layout, asked)
    lm = replace(lm, end_ids=tuple({one.token_ids[min(4, len(one.token_ids) - 1)] for one in ends[:3]}))
    if drafts:  # right ones, wrong ones, and such as an earlier try has left
        found = _answers(lm, layout, asked)
        lies = [one.token_ids[:2] + [9] * 6 for one in found]
        asked = [
            replace(request, draft=lies[i] if i % 2 else found[i].token_ids, sure=2 if i % 3 else 0)
            for i, request in enumerate(asked)
        ]
    rows = zip(asked, _answers(lm, layout, asked), strict=True)
    return sorted(rows, key=lambda row: -len(row[0].question_ids))


def _answers(lm: LanguageModel, layout: Layout, asked: list[Request]) -> list[Generated]:
    found = {}
    for indices, made in generate(lm, layout, asked, LIMITS, 4, traced=DEEP.layers.start if DEEP.layers else 0):
        found |= dict(zip(indices, made, strict=True))
    return [found[i] for i in range(len(asked))]


def both(lm: LanguageModel, layout: Layout, asked: Asked, drafts: bool = False) -> tuple[RightPadded, Reduced, Reduced]:
    """Return the batch, what is measured from traces, and what is measured anew."""
    rows = said(lm, layout, drafts)
    questions, rationales = [r.question_ids for r, _ in rows], [one.token_ids for _, one in rows]
    batch = right_padded(lm, layout, prompt(lm), questions, rationales)
    cuts = [(len(ids) // 2, len(ids) // 3) for ids in rationales]
    starts = [b % len(ids) for b, ids in enumerate(rationales)]
    traces = [one.trace for _, one in rows if one.trace]
    assert len({len(ids) for ids in rationales}) > 1
    found = packed.measure(lm, layout, batch, traces, VECTORS, cuts, starts, asked)
    return batch, found, measure(lm, layout, batch, VECTORS, cuts, starts, asked)


def errors(batch: RightPadded, found: Reduced, truth: Reduced) -> Iterator[float]:
    """Yield the largest relative error of each reduction, over the rows that predict a token."""

    def rows(sums: Tensor, dim: int) -> Tensor:
        own = [batch.predicting_rows(b) for b in range(len(sums))]
        return torch.cat([sums[b].narrow(dim, each.start, len(each)) for b, each in enumerate(own)], dim)

    for name, dim in (("groups_BLSG", 1), ("band_BSN", 0), ("attention_BLS", 1)):
        yield worst(rows(getattr(found, name), dim), rows(getattr(truth, name), dim))
    for name in ("prompt_BLRN", "attention_BLRN"):
        yield worst(getattr(found, name).nan_to_num(), getattr(truth, name).nan_to_num())
    for name in ("nll", "entropy"):
        yield worst(torch.cat(getattr(found, name)), torch.cat(getattr(truth, name)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("order", "heads"), [("bos_first", "abs_mean"), ("prompt_first", "sum_abs")])
def test_traces_give_what_a_pass_over_the_whole_gives(family: str, order: str, heads: str) -> None:
    lm = tiny.model(family, torch.float64, num_hidden_layers=4)
    tiny.exact_norms(lm)
    asked = replace(DEEP, head_reduce=heads)
    most = FLOAT32_SOFTMAX if family == "gemma2" else EXACT
    assert max(errors(*both(lm, Layout(order, has_bos=True), asked))) < most


def test_neither_drafts_nor_tiles_nor_parts_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model("qwen2", torch.float64, num_hidden_layers=4)
    tiny.exact_norms(lm)
    monkeypatch.setattr(attention, "tile_shape", small_tiles)
    monkeypatch.setattr(packed, "rows_within", lambda lm, tokens: 12)
    assert max(errors(*both(lm, Layout("bos_first", has_bos=True), DEEP, drafts=True))) < EXACT


def test_layers_below_do_nothing_and_upper_ones_may_be_measured_alone() -> None:
    lm, layout, passed = tiny.model(num_hidden_layers=4), Layout("bos_first", has_bos=True), []
    rows = said(lm, layout)
    batch = right_padded(lm, layout, prompt(lm), [r.question_ids for r, _ in rows], [o.token_ids for _, o in rows])
    traces, zeros = [one.trace for _, one in rows if one.trace], [0] * len(rows)
    for layer in lm.model.get_decoder().layers:
        layer.mlp.register_forward_hook(lambda *a, layer=layer: passed.append(layer.self_attn.layer_idx))
    cuts = [(1, 1)] * len(rows)
    packed.measure(lm, layout, batch, traces, VECTORS, cuts, zeros, replace(DEEP, layers=range(3, 4)))
    assert passed == [2, 3]


def test_a_trace_of_another_row_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model("llama-gqa", torch.float64, num_hidden_layers=4)
    tiny.exact_norms(lm)
    monkeypatch.setattr(Tracer, "arrange", lambda self, order, source, target: None)
    with pytest.raises((AssertionError, RuntimeError, KeyError)):
        assert max(errors(*both(lm, Layout("bos_first", has_bos=True), DEEP))) < EXACT
