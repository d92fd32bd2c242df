"""A prompt as text to a model: perplexity, change of outputs, likelihood of labels, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dpc.errors import DpcError
from dpc.lm.examples import Example
from dpc.lm.layout import layout_of
from dpc.lm.models import LanguageModel
from dpc.lm.option_scores import log_likelihoods
from dpc.lm.output_change import changes
from dpc.lm.perplexity import mean_nll
from tests.support import tiny

QUESTIONS = [[5, 9, 30], [8], [40, 41, 42, 43, 44]]
EXAMPLES = [Example(q, r) for q, r in zip(QUESTIONS, ([7, 8, 9, 2], [50, 2], [11, 12, 13]), strict=True)]


def logits(lm: LanguageModel, prompt: Tensor, question: list[int], answer: list[int], order: str) -> Tensor:
    """The logits that predict each token of the answer, from one unpadded sequence put together by hand."""
    bos = lm.embedding(torch.tensor([lm.bos_id]))
    head = [bos, prompt] if order == "bos_first" else [prompt, bos]
    body = lm.embedding(torch.tensor([*question, *answer]))
    with torch.no_grad():
        out = lm.model(inputs_embeds=torch.cat([*head, body])[None]).logits[0].double()
    return out[-len(answer) - 1 : -1]


def prompts(lm: LanguageModel) -> tuple[Tensor, Tensor]:
    return lm.vocabulary_VD[20:24] + 0.1, lm.vocabulary_VD[20:24]


@pytest.mark.parametrize("family", ["llama-gqa", "gemma2"])
def test_perplexity_is_that_of_each_token_given_those_before(family: str) -> None:
    lm, ids = tiny.model(family), [9, 40, 9, 77]
    with torch.no_grad():
        log_p = lm.model(torch.tensor([[lm.bos_id, *ids]])).logits[0].double().log_softmax(-1)
    by_hand = -sum(float(log_p[place, token]) for place, token in enumerate(ids)) / len(ids)
    assert mean_nll(lm, ids) == pytest.approx(by_hand, rel=1e-5)


def test_a_model_to_which_all_tokens_are_alike_has_perplexity_of_its_vocabulary() -> None:
    lm = tiny.model()
    with torch.no_grad():
        lm.model.get_output_embeddings().weight.zero_()
    assert math.exp(mean_nll(lm, [9, 40, 9, 77])) == pytest.approx(160, rel=1e-6)


def test_no_text_has_no_perplexity_and_too_long_a_one_is_refused() -> None:
    assert math.isnan(mean_nll(tiny.model(), []))
    with pytest.raises(DpcError, match="a prompt of 129 tokens does not fit the context of 128"):
        mean_nll(tiny.model(), [9] * 129)


@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
def test_outputs_change_as_their_definitions_say(order: str) -> None:
    lm = tiny.model()
    one, other = prompts(lm)
    found = changes(lm, layout_of(lm, order), one, other, EXAMPLES)
    for example, change in zip(EXAMPLES, found, strict=True):
        a, b = (logits(lm, p, example.question_ids, example.rationale_ids, order) for p in (one, other))
        gap = a - b
        assert change.raw == pytest.approx(float((gap**2).mean()), rel=1e-4)
        assert change.centred == pytest.approx(float(gap.var(1, correction=0).mean()), rel=1e-4)
        kl = torch.nn.functional.kl_div(b.log_softmax(1), a.log_softmax(1), log_target=True, reduction="none").sum(1)
        assert change.kl == pytest.approx(float(kl.mean()), rel=1e-3)
        assert change.agreement == pytest.approx(float((a.argmax(1) == b.argmax(1)).double().mean()))


def test_outputs_under_the_same_prompt_are_the_same_to_the_last_bit() -> None:
    lm = tiny.model()
    _, tokens = prompts(lm)
    for change in changes(lm, layout_of(lm, "bos_first"), tokens, tokens.clone(), EXAMPLES):
        assert (change.raw, change.centred, change.kl, change.agreement) == (0, 0, 0, 1)


@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
def test_labels_are_as_likely_as_their_tokens_one_after_the_other(order: str) -> None:
    lm, labels = tiny.model(), [[7], [50, 9], [3, 4, 5]]
    prompt, _ = prompts(lm)
    found = log_likelihoods(lm, layout_of(lm, order), lambda _: prompt, QUESTIONS, labels)
    for question, scores in zip(QUESTIONS, found, strict=True):
        for label, score in zip(labels, scores, strict=True):
            log_p = logits(lm, prompt, question, label, order).log_softmax(1)
            by_hand = sum(float(log_p[place, token]) for place, token in enumerate(label))
            assert score == pytest.approx(by_hand, rel=1e-4)


def test_labels_too_long_for_the_context_are_refused() -> None:
    lm = tiny.model()
    with pytest.raises(DpcError, match="model's context is 128"):
        log_likelihoods(lm, layout_of(lm, "bos_first"), None, [[9] * 126], [[7], [8, 9]])
