"""Each intervention against brute force in float64: whole sequences one at a time, no cache, scores of −∞."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from dpc.lm.causal.attributions import flows, gradient_times_input
from dpc.lm.causal.continuing import Begun, continued
from dpc.lm.causal.heads import head_of, swapped
from dpc.lm.causal.passes import Body, Cut, token_nll
from dpc.lm.decoding import Limits
from dpc.lm.layout import Layout, shared_prefix
from dpc.lm.models import LanguageModel
from tests.lm.test_saliency import exact_norms, prompt, sequences
from tests.support import tiny

EXACT = 1e-12
"""Of float64."""
FAMILIES = ("llama-gqa", "mistral", "qwen2", "gemma2")
QUESTIONS, RATIONALES = sequences()
BODY = Body(QUESTIONS, RATIONALES)
LAYERS = range(1, 3)
by_family = pytest.mark.parametrize("family", FAMILIES)
by_order = pytest.mark.parametrize("order", ["bos_first", "prompt_first"])


@pytest.fixture(autouse=True)
def _exact_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' eager attention, the one that Gemma 2 has, rounds float64 to float32; take that out."""
    softmax = torch.nn.functional.softmax

    def exact(scores: Tensor, *args: Any, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor:
        return softmax(scores, *args, dtype=scores.dtype if scores.dtype == torch.float64 else dtype, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "softmax", exact)


@dataclass
class Slow:
    """Attention written out: what it is told to hide has a score of −∞, what it is told to swap is another's."""

    hidden: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By layer: pairs of a first row and a column that it and later rows do not see."""
    given: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """By layer: keys and values of columns from `start` on."""
    start: int = 0
    seen: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict)
    """By layer: keys, values and attention of the last pass."""

    def __call__(self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float,
                 softcap: float | None = None, **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
        layer = module.layer_idx
        if layer in self.given:
            keys, values = self.given[layer]
            where = slice(self.start, self.start + keys.shape[2])
            key, value = key.clone(), value.clone()
            key[:, :, where], value[:, :, where] = keys, values
        group = query.shape[1] // key.shape[1]
        scores = query @ key.repeat_interleave(group, 1).mT * scaling
        scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
        rows = torch.arange(query.shape[2])
        back = rows[:, None] - rows
        window = kwargs.get("sliding_window") or 10**6
        scores = scores.masked_fill((back < 0) | (back >= window), -torch.inf)
        for first, column in self.hidden.get(layer, []):
            scores[:, :, first:, column] = -torch.inf
        a = scores.softmax(-1)
        self.seen[layer] = key, value, a
        return (a @ value.repeat_interleave(group, 1)).transpose(1, 2), None


@contextmanager
def attending(lm: LanguageModel, slow: Slow) -> Iterator[None]:
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    before = lm.model.config._attn_implementation
    AttentionInterface.register("slow", slow)
    AttentionMaskInterface.register("slow", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    lm.model.set_attn_implementation("slow")
    try:
        yield
    finally:
        lm.model.set_attn_implementation(before)


def model_of(family: str) -> LanguageModel:
    lm = tiny.model(family, torch.float64)
    exact_norms(lm)
    return lm


def slow_nll(lm: LanguageModel, head_KD: Tensor, b: int, slow: Slow) -> Tensor:
    """The NLL of each rationale token of sequence b behind a head."""
    ids = torch.tensor([*QUESTIONS[b], *RATIONALES[b]])
    embeds_1SD = torch.cat([head_KD, lm.embedding(ids)])[None]
    with attending(lm, slow), torch.enable_grad():
        hidden_SD = lm.model.get_decoder()(inputs_embeds=embeds_1SD, use_cache=False).last_hidden_state[0]
        start = len(head_KD) + len(QUESTIONS[b]) - 1
        logits_TV = lm.logits(hidden_SD[start : start + len(RATIONALES[b])])
    return torch.nn.functional.cross_entropy(logits_TV, torch.tensor(RATIONALES[b]), reduction="none")


def embeds(lm: LanguageModel, layout: Layout, prompt_ND: Tensor | None) -> Tensor:
    return shared_prefix(lm, layout, [prompt_ND], [()])


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max())


@by_family
@by_order
@torch.no_grad()
def test_a_masked_embedding(family: str, order: str) -> None:
    lm, layout = model_of(family), Layout(order, True)
    masked_ND = prompt(lm)
    masked_ND[2] = 0
    found = token_nll(lm, head_of(lm, layout, masked_ND[None]), BODY)
    plain = token_nll(lm, head_of(lm, layout, prompt(lm)[None]), BODY)
    for b, nll in enumerate(found):
        assert error(nll, slow_nll(lm, embeds(lm, layout, masked_ND), b, Slow())) <= EXACT
        assert error(nll, plain[b]) > 1e-3


@torch.no_grad()
def test_each_row_may_have_a_head_of_its_own_and_a_token_before_it() -> None:
    lm, layout = model_of("llama-gqa"), Layout("bos_first", True)
    prompts = [prompt(lm) * factor for factor in (0.5, 1.0, 1.5)]
    extra_D = lm.vocabulary_VD.mean(0).double()
    found = token_nll(lm, head_of(lm, layout, torch.stack(prompts), extra_D), BODY)
    for b, nll in enumerate(found):
        head_KD = torch.cat([extra_D[None], embeds(lm, layout, prompts[b])])
        assert error(nll, slow_nll(lm, head_KD, b, Slow())) <= EXACT


@by_family
@by_order
@torch.no_grad()
def test_attention_that_is_cut(family: str, order: str) -> None:
    lm, layout, prompt_ND = model_of(family), Layout(order, True), prompt(tiny.model(family, torch.float64))
    head = head_of(lm, layout, prompt_ND[None])
    question = head.columns
    columns = [list(range(head.prompt.start, head.prompt.stop)), [question, question + 2], [1, question]]
    first = [5, 1, 3]
    for b, hidden in enumerate(columns):
        hidden.append(question + len(QUESTIONS[b]) - 1)  # within the sliding window
    found = token_nll(lm, head, BODY, Cut(LAYERS, columns, first))
    plain = token_nll(lm, head, BODY)
    for b, nll in enumerate(found):
        row = question + len(QUESTIONS[b]) - 1 + first[b]
        cut = {layer: [(row, column) for column in columns[b]] for layer in LAYERS}
        assert error(nll, slow_nll(lm, embeds(lm, layout, prompt_ND), b, Slow(hidden=cut))) <= EXACT
        assert torch.equal(nll[: first[b]], plain[b][: first[b]])
        assert error(nll, plain[b]) > 1e-4


@by_family
@by_order
@torch.no_grad()
def test_swapped_keys_and_values(family: str, order: str) -> None:
    lm, layout, prompt_ND = model_of(family), Layout(order, True), prompt(tiny.model(family, torch.float64))
    other_ND = prompt_ND.flip(0) * 0.7
    own, other = (head_of(lm, layout, each[None]) for each in (prompt_ND, other_ND))
    found = token_nll(lm, swapped(own, other, LAYERS), BODY)
    plain, seen = token_nll(lm, own, BODY), Slow()
    slow_nll(lm, embeds(lm, layout, other_ND), 0, seen)
    where = own.prompt
    given = {layer: (seen.seen[layer][0][:, :, where], seen.seen[layer][1][:, :, where]) for layer in LAYERS}
    for b, nll in enumerate(found):
        expected = slow_nll(lm, embeds(lm, layout, prompt_ND), b, _behind(given, where, seen=own.columns))
        assert error(nll, expected) <= EXACT
        assert error(nll, plain[b]) > 1e-4


class _Later(Slow):
    """Only rows behind the head see the swapped states: the prompt's own rows were there before."""

    def __call__(self, module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float,
                 **kwargs: Any) -> tuple[Tensor, None]:  # fmt: skip
        given, self.given = self.given, {}
        before = super().__call__(module, query, key, value, mask, scaling, **kwargs)[0]
        self.given = given
        after = super().__call__(module, query, key, value, mask, scaling, **kwargs)[0]
        return torch.cat([before[:, : self.head], after[:, self.head :]], 1), None

    head = 0


def _behind(given: dict[int, tuple[Tensor, Tensor]], where: slice, seen: int) -> Slow:
    slow = _Later(given=given, start=where.start)
    slow.head = seen
    return slow


@by_family
@by_order
@torch.no_grad()
def test_attention_and_value_flow(family: str, order: str) -> None:
    lm, layout, prompt_ND = model_of(family), Layout(order, True), prompt(tiny.model(family, torch.float64))
    head = head_of(lm, layout, prompt_ND[None])
    attention_BN, flow_BN = flows(lm, head, BODY, LAYERS)
    for b in range(len(BODY)):
        slow = Slow()
        slow_nll(lm, embeds(lm, layout, prompt_ND), b, slow)
        a_LHN, sent_LHN = [], []
        for layer in LAYERS:
            _, value_JSD, a_HQS = (state[0] for state in slow.seen[layer])
            weights_HN = a_HQS[:, head.columns : -1, head.prompt].mean(1)  # the last row predicts nothing
            a_LHN.append(weights_HN)
            sent_LHN.append(weights_HN * value_JSD.norm(dim=-1)[:, head.prompt].repeat_interleave(2, 0))
        assert error(attention_BN[b], torch.stack(a_LHN).mean((0, 1))) <= EXACT
        assert error(flow_BN[b], torch.stack(sent_LHN).mean((0, 1))) <= EXACT


@by_family
@by_order
def test_gradient_times_input(family: str, order: str) -> None:
    lm, layout, prompt_ND = model_of(family), Layout(order, True), prompt(tiny.model(family, torch.float64))
    found_BN = gradient_times_input(lm, layout, prompt_ND, BODY, is_checkpointed=True)
    for b in range(len(BODY)):
        leaf_ND = prompt_ND.clone().requires_grad_(True)
        slow_nll(lm, embeds(lm, layout, leaf_ND), b, Slow()).mean().backward()
        assert leaf_ND.grad is not None
        assert error(found_BN[b], (leaf_ND.grad * prompt_ND).sum(1).abs()) <= EXACT


@by_family
@by_order
@pytest.mark.parametrize("prompted", [True, False])
@torch.no_grad()
def test_a_forced_beginning_under_a_cut_is_continued_greedily(family: str, order: str, prompted: bool) -> None:
    lm, layout = model_of(family), Layout(order, True)
    prompt_ND = prompt(lm) if prompted else None
    head_KD = embeds(lm, layout, prompt_ND)
    question, limits = len(head_KD), Limits(16)
    hidden = [[layout.prompt_start(), *range(question, question + len(QUESTIONS[0]) - 1)], [], [question]]
    said = [rationale[:count] for rationale, count in zip(RATIONALES, (4, 0, 7), strict=True)]
    begun = [Begun(*each) for each in zip(QUESTIONS, said, hidden, strict=True)]
    found = continued(lm, layout, prompt_ND, begun, limits, LAYERS)
    for b, tokens in enumerate(found):
        expected = list(said[b])
        row = question + len(QUESTIONS[b]) + len(said[b]) - 1
        slow = Slow(hidden={layer: [(row, column) for column in hidden[b]] for layer in LAYERS})
        while len(expected) < 16 and not (expected and expected[-1] in lm.end_ids and len(expected) > len(said[b])):
            embeds_1SD = torch.cat([head_KD, lm.embedding(torch.tensor([*QUESTIONS[b], *expected]))])[None]
            with attending(lm, slow):
                hidden_SD = lm.model.get_decoder()(inputs_embeds=embeds_1SD, use_cache=False).last_hidden_state[0]
            expected.append(int(lm.logits(hidden_SD[-1]).argmax()))
        assert tokens == expected
    free = continued(lm, layout, prompt_ND, begun, limits, range(0))
    assert free != found  # or the cut did nothing
