"""Attention calibration against its definition, row by row and key by key; cached, batched, in every family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dpc.config.methods import Act
from dpc.lm.act import calibration as act
from dpc.lm.decoding import Request, generate
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import Calibrated
from tests.support import tiny
from tests.support.answers import FAMILIES, LIMITS, prompt, questions

by_family = pytest.mark.parametrize("family", FAMILIES)
RULE = Act(tau=0.15, min_rows=2)
RULES = {
    "tau": RULE,
    "alpha": Act(threshold="alpha", alpha=2.0, min_rows=2),
    "released": Act(tau=0.1, mode="released"),
}
HEADS = {0: [1], 1: [0, 2, 3], 2: [3]}


def requests(lm: LanguageModel) -> list[Request]:
    """Nine questions of different lengths under one prompt, as a study has them."""
    return [Request(ids, prompt(lm, 7, 6)) for ids in questions()]


def said(lm: LanguageModel, rule: Act | None, size: int = 9, order: str = "bos_first", heads: Any = None) -> list[Any]:
    found: dict[int, Any] = {}
    calibrated = None if rule is None else Calibrated(rule, HEADS if heads is None else heads)
    for indices, made in generate(lm, Layout(order, True), requests(lm), LIMITS, size, calibrated):
        found.update(zip(indices, made, strict=True))
    return [found[i].token_ids for i in range(9)]


def by_hand(a_QK: Tensor, sinks: set[int], beta: float) -> Tensor:
    """Calibrate rows one by one, as docs/methods.md says it."""
    rows = a_QK.clone()
    for q, row in enumerate(a_QK.tolist()):
        mass = sum(row[k] for k in sinks)
        rest = sum(weight for k, weight in enumerate(row) if k not in sinks)
        if rest > 0:
            new = [beta * w if k in sinks else w + (1 - beta) * mass * w / rest for k, w in enumerate(row)]
            rows[q] = torch.tensor(new, dtype=rows.dtype)
    return rows


def sinks_by_hand(a_QK: Tensor, rule: Act) -> set[int]:
    """Find the sinks of a square map."""
    length = len(a_QK)
    limit = rule.tau if rule.threshold == "tau" else rule.alpha / length
    found = [t for t in range(length) if float(a_QK[:, t].sum()) / (length - t) > limit]
    if rule.mode == "released":
        return set(found[1:])
    return {t for t in found if t != 0 and length - t >= rule.min_rows}


@contextmanager
def defined(lm: LanguageModel, rule: Act, prefill: int, heads: dict[int, list[int]] = HEADS) -> Iterator[None]:
    """Run a whole sequence of one row, without a cache, with calibration as it is defined."""
    from transformers import AttentionInterface

    def attention(module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float, **kwargs: Any) -> Any:
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
        scores = query @ key.transpose(2, 3) * scaling
        if kwargs.get("softcap"):
            scores = torch.tanh(scores / kwargs["softcap"]) * kwargs["softcap"]
        distance = torch.arange(query.shape[2])[:, None] - torch.arange(key.shape[2])
        seen = (distance >= 0) & (distance < (kwargs.get("sliding_window") or 10**6))
        a_HQK = scores[0].masked_fill(~seen, float("-inf")).softmax(-1)
        for head in heads.get(module.layer_idx, []):
            sinks = sinks_by_hand(a_HQK[head, :prefill, :prefill], rule)
            a_HQK[head] = by_hand(a_HQK[head], sinks, rule.beta)
        return (a_HQK @ value[0]).transpose(0, 1)[None].contiguous(), None

    AttentionInterface.register("by_hand", attention)
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("by_hand")
    yield
    lm.model.set_attn_implementation(before)


@torch.no_grad()
def slow(lm: LanguageModel, rule: Act, request: Request, order: str) -> list[int]:
    """Decode one row without padding or cache: the whole sequence again for every token."""
    head, tokens = [lm.embedding(torch.tensor([1])), request.prompt_ND], list[int]()
    if order == "prompt_first":
        head.reverse()
    prefill = 1 + len(request.prompt_ND) + len(request.question_ids)  # type: ignore[arg-type]
    while len(tokens) < LIMITS.max_new_tokens and (not tokens or tokens[-1] != 2):
        embeds = torch.cat([*head, lm.embedding(torch.tensor(request.question_ids + tokens))])[None]
        with defined(lm, rule, prefill):
            logits = lm.model(inputs_embeds=embeds, position_ids=torch.arange(embeds.shape[1])[None]).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokens


@by_family
@pytest.mark.parametrize(("order", "rule"), [("bos_first", "tau"), ("prompt_first", "alpha")])
def test_a_cached_batch_says_what_the_definition_says_alone(family: str, order: str, rule: str) -> None:
    lm = tiny.model(family)
    together = said(lm, RULES[rule], order=order)
    for request, found in list(zip(requests(lm), together, strict=True))[::3]:
        assert found == slow(lm, RULES[rule], request, order)


@by_family
@pytest.mark.parametrize("rule", RULES)
def test_it_changes_what_every_family_says(family: str, rule: str) -> None:
    lm = tiny.model(family)
    assert said(lm, RULES[rule]) != said(lm, None)


@by_family
@pytest.mark.parametrize("rule", ["tau", "released"])
def test_a_batch_says_what_smaller_ones_say(family: str, rule: str) -> None:
    lm = tiny.model(family)
    assert said(lm, RULES[rule], 9) == said(lm, RULES[rule], 4)


def test_a_batch_says_what_its_rows_say_alone() -> None:
    lm = tiny.model()
    assert said(lm, RULES["released"], 9) == said(lm, RULES["released"], 1)


def test_rows_that_end_early_leave_the_sinks_of_the_others_in_place() -> None:
    lm = tiny.model(seed=3)
    free = said(lm, RULE)
    ending = free[0][3]
    other = LanguageModel(lm.model, lm.tokenizer, 1, 0, (ending,))
    for before, after in zip(free, said(other, RULE), strict=True):
        assert after == (before[: before.index(ending) + 1] if ending in before else before)
    assert 0 < sum(ending in row for row in free) < 9


@by_family
def test_beta_1_and_no_heads_are_the_identity_bit_for_bit(family: str) -> None:
    lm, embeds = tiny.model(family), torch.randn(3, 14, 32, generator=torch.Generator().manual_seed(0))
    plain = outputs(lm, embeds, None)
    one = RULE.model_copy(update={"beta": 1.0})
    for rule, heads in ((one, HEADS), (RULE, {}), (RULE, {1: []})):
        assert all(map(torch.equal, outputs(lm, embeds, act.Calibration(rule, heads, torch.ones(3, 14))), plain))
    assert not torch.equal(outputs(lm, embeds, act.Calibration(RULE, HEADS, torch.ones(3, 14)))[-1], plain[-1])


@by_family
def test_heads_that_are_off_are_bit_identical(family: str) -> None:
    lm, embeds = tiny.model(family), torch.randn(3, 14, 32, generator=torch.Generator().manual_seed(0))
    plain = outputs(lm, embeds, None)
    found = outputs(lm, embeds, act.Calibration(RULE, {1: [2]}, torch.ones(3, 14)))
    assert torch.equal(found[0], plain[0])
    same_H = (found[1] == plain[1]).unflatten(-1, (4, 8)).all(-1).all(0).all(0)
    assert same_H.tolist() == [True, True, False, True]
    rows = outputs(lm, embeds, act.Calibration(RULE, {1: [[2], [0], [2]]}, torch.ones(3, 14)))
    same_BH = (rows[1] == plain[1]).unflatten(-1, (4, 8)).all(-1).all(1)
    assert same_BH.tolist() == [[True, True, False, True], [False, True, True, True], [True, True, False, True]]


@torch.no_grad()
def outputs(lm: LanguageModel, embeds_BSD: Tensor, calibration: act.Calibration | None) -> list[Tensor]:
    """Return what each layer's heads put out (B, S, H x D), and the logits."""
    from dpc.lm.cache import causal_masks

    position_1S, found = torch.arange(embeds_BSD.shape[1])[None], list[Tensor]()
    layers = lm.model.get_decoder().layers
    hooks = [la.self_attn.o_proj.register_forward_pre_hook(lambda _, x: found.append(x[0].clone())) for la in layers]
    masks = causal_masks(lm, position_1S >= 0, position_1S, position_1S)
    with act.calibrated(lm, calibration):
        logits = lm.model(inputs_embeds=embeds_BSD, position_ids=position_1S, attention_mask=masks).logits
    for hook in hooks:
        hook.remove()
    return [*found, logits]


def test_the_worked_row() -> None:
    a, sink = torch.tensor([[[[0.2, 0.7, 0.1]]]]), torch.tensor([[[False, True, False]]])
    torch.testing.assert_close(a + act.change(a, sink, 0.4), torch.tensor([[[[0.48, 0.28, 0.24]]]]))


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 7), st.floats(0, 1))
def test_rows_sum_to_1_and_agree_with_the_definition(seed: int, rows: int, columns: int, beta: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    a = (torch.randn(1, 1, rows, columns, generator=generator, dtype=torch.float64) * 9).softmax(-1)
    sink = torch.rand(1, 1, columns, generator=generator) < 0.4
    found = a + act.change(a, sink, beta)
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 1, rows, dtype=torch.float64))
    assert bool((found >= 0).all())
    expected = by_hand(a[0, 0], {k for k in range(columns) if sink[0, 0, k]}, beta)
    torch.testing.assert_close(found[0, 0], expected)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 3), st.integers(0, 3), st.sampled_from(sorted(RULES)))
def test_sinks_do_not_depend_on_padding(seed: int, length: int, left: int, right: int, name: str) -> None:
    generator, rule = torch.Generator().manual_seed(seed), RULES[name]
    scores = torch.randn(1, 1, length, length, generator=generator, dtype=torch.float64) * 3
    a = scores.masked_fill(torch.ones(length, length).triu(1).bool(), float("-inf")).softmax(-1)
    real = torch.zeros(1, left + length + right, dtype=torch.bool)
    real[:, left : left + length] = True
    padded = torch.rand(1, 1, real.shape[1], real.shape[1], generator=generator, dtype=torch.float64)
    padded[..., left : left + length, left : left + length] = a
    calibration = act.Calibration(rule, {0: [0]}, real)
    inside = slice(left, left + length)
    expected = by_hand(a[0, 0], sinks_by_hand(a[0, 0], rule), rule.beta)
    padded[..., inside, :left] = padded[..., inside, left + length :] = 0
    changed = (padded + calibration.change(0, padded))[0, 0, inside, inside]
    torch.testing.assert_close(changed, expected)


def test_position_0_and_columns_of_few_rows_are_spared() -> None:
    a = torch.zeros(1, 1, 12, 12)
    a[..., 0], a[..., 3], a[..., 5] = 0.3, 0.4, 0.3
    real = torch.ones(1, 12, dtype=torch.bool)

    def found(**settings: Any) -> list[int]:
        return act.sinks(*act.received(a, real, real), Act(**settings)).nonzero()[:, 2].tolist()

    assert found() == [3]  # 5 is averaged over 7 rows
    assert found(min_rows=7) == [3, 5]
    assert found(mode="released") == [3, 5]
    assert found(mode="released", tau=0.35) == [5]  # the first that is found is spared, whatever it is
    assert found(min_rows=7, tau=0.52) == [3]  # column 5: 12 x 0.3 / 7 = 0.514
    assert found(min_rows=7, threshold="alpha", alpha=6.5) == []  # above 6.5 / 12 = 0.542; column 3: 0.533


def test_the_released_function_breaks_a_row_that_comes_alone() -> None:
    calibration = act.Calibration(Act(mode="released"), {0: [0]}, torch.ones(1, 3))
    a = torch.tensor([[[[0.2, 0.3, 0.4, 0.1]]]])  # one row, behind a cache of three columns
    found = a + calibration.change(0, a)
    assert found[0, 0, 0, 0] == 1
    assert found.sum() > 1.2
    whole = a.new_zeros(1, 1, 3, 3)
    whole[0, 0] = torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0.2, 0.7, 0.1]])
    torch.testing.assert_close((whole + calibration.change(0, whole)).sum(-1), torch.ones(1, 1, 3))


@by_family
def test_in_bfloat16_it_runs_and_an_idle_head_stays_idle(family: str) -> None:
    lm = tiny.model(family, torch.bfloat16)
    assert said(lm, RULE) != said(lm, None)
    none = Act(tau=1.0)  # no column can receive more
    embeds = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    calibration = act.Calibration(none, HEADS, torch.ones(2, 9))
    assert all(map(torch.equal, outputs(lm, embeds, calibration), outputs(lm, embeds, None)))
