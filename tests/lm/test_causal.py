"""Each intervention against brute force in float64: whole sequences one at a time, no cache, scores of −∞."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dpc.lm.causal import attributions
from dpc.lm.causal.attributions import flows, gradient_times_input
from dpc.lm.causal.continuing import Begun, continued
from dpc.lm.causal.heads import head_of, swapped
from dpc.lm.causal.passes import Body, Cut, token_nll
from dpc.lm.decoding import Limits
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from tests.lm.test_saliency import prompt, sequences
from tests.support import tiny
from tests.support.slow_attention import EXACT, Slow, attending, behind, embeds, model_of, true_nll

FAMILIES = ("llama-gqa", "mistral", "qwen2", "gemma2")
QUESTIONS, RATIONALES = sequences()
BODY = Body(QUESTIONS, RATIONALES)
LAYERS = range(1, 3)
by_family = pytest.mark.parametrize("family", FAMILIES)
pytestmark = pytest.mark.usefixtures("exact_softmax")
by_order = pytest.mark.parametrize("order", ["bos_first", "prompt_first"])


def slow_nll(lm: LanguageModel, head_KD: Tensor, b: int, slow: Slow) -> Tensor:
    """The NLL of each rationale token of sequence b behind a head."""
    return true_nll(lm, head_KD, QUESTIONS[b], RATIONALES[b], slow)


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
        expected = slow_nll(lm, embeds(lm, layout, prompt_ND), b, behind(given, where, seen=own.columns))
        assert error(nll, expected) <= EXACT
        assert error(nll, plain[b]) > 1e-4


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


def test_gradients_in_parts_are_those_of_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, layout = model_of("qwen2"), Layout("bos_first", True)
    whole_BN = gradient_times_input(lm, layout, prompt(lm), BODY, is_checkpointed=False)
    monkeypatch.setattr(attributions, "rows_within", lambda lm, tokens: 2)
    assert error(gradient_times_input(lm, layout, prompt(lm), BODY, is_checkpointed=False), whole_BN) <= EXACT


def test_measures_of_a_bfloat16_model_are_summed_in_float32() -> None:
    lm, layout = tiny.model("qwen2", torch.bfloat16), Layout("bos_first", True)
    prompt_ND = prompt(lm).bfloat16()
    found = [*flows(lm, head_of(lm, layout, prompt_ND[None]), BODY, LAYERS)]
    found.append(gradient_times_input(lm, layout, prompt_ND, BODY, is_checkpointed=False))
    assert [each.dtype for each in found] == [torch.float32] * 3
    assert all((each != each.bfloat16()).any() for each in found)


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


@torch.no_grad()
def test_a_continued_answer_ends_with_its_end_mark_or_stop_text() -> None:
    lm, layout = model_of("llama-gqa"), Layout("bos_first", True)
    begun = [Begun(QUESTIONS[b], RATIONALES[b][:3]) for b in range(3)]
    free = continued(lm, layout, prompt(lm), begun, Limits(16), range(0))
    marked = replace(lm, end_ids=(free[0][5],))
    for b, ids in enumerate(continued(marked, layout, prompt(lm), begun, Limits(16), range(0))):
        ends = [place + 1 for place, token in enumerate(free[b]) if place >= 3 and token == free[0][5]]
        assert ids == free[b][: min([*ends, 16])]
    text = lm.decode(free[1][6:7]).strip()
    stopped = continued(lm, layout, prompt(lm), begun, Limits(16, (text,)), range(0))
    assert len(stopped[1]) <= 7
    assert text in lm.decode(stopped[1])
    assert text not in lm.decode(stopped[1][:-1])
