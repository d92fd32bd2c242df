"""Batched greedy decoding against one-at-a-time decoding without a cache."""

from __future__ import annotations

import pytest
import torch

from dpc.edits import Edit
from dpc.errors import DpcError
from dpc.lm.decoding import Generated, Limits, Request, generate, plan_batches
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.lm.soft_prompt import corrupt
from tests import tiny

LIMITS = Limits(max_new_tokens=12)


def questions(count: int = 9) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, 60, (2 + 3 * i % 11,), generator=generator).tolist() for i in range(count)]


def prompt(lm: LanguageModel, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, tiny.SHAPE["hidden_size"], generator=generator).to(lm.embedding.weight)


def requests(lm: LanguageModel) -> list[Request]:
    """Every row under a prompt of its own; one under none, one with a hidden vector."""
    made = [Request(ids, prompt(lm, i)) for i, ids in enumerate(questions())]
    made[2] = Request(made[2].question_ids, None)
    made[5] = Request(made[5].question_ids, made[5].prompt_ND, hidden=(1, 3))
    return made


def run(lm: LanguageModel, asked: list[Request], size: int, limits: Limits = LIMITS, order: str = "bos_first"):
    found: list[Generated | None] = [None] * len(asked)
    for indices, made in generate(lm, Layout(order, True), asked, limits, size):
        for i, one in zip(indices, made, strict=True):
            found[i] = one
    return found


@torch.no_grad()
def slow(lm: LanguageModel, request: Request, order: str) -> list[int]:
    """Decode one row without padding or cache: the whole sequence again for every token."""
    bos, tokens = lm.embedding.weight[[1]], []
    parts = [bos] if request.prompt_ND is None else [bos, request.prompt_ND]
    if order == "prompt_first":
        parts.reverse()
    start = 1 if order == "bos_first" else 0
    while len(tokens) < LIMITS.max_new_tokens and (not tokens or tokens[-1] != 2):
        embeds = torch.cat([*parts, lm.embedding(torch.tensor(request.question_ids + tokens))])[None]
        mask = torch.ones(1, embeds.shape[1], dtype=torch.long)
        mask[0, [start + j for j in request.hidden]] = 0
        positions = torch.arange(embeds.shape[1])[None]
        logits = lm.model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tokens


@pytest.mark.parametrize("family", ["llama-mha", "llama-gqa", "mistral", "qwen2"])
@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
def test_a_ragged_batch_equals_one_at_a_time(family: str, order: str) -> None:
    lm = tiny.model(family)
    asked = requests(lm)
    together = run(lm, asked, 9, order=order)
    for request, found in zip(asked, together, strict=True):
        assert found.token_ids == slow(lm, request, order)
    assert len({tuple(found.token_ids) for found in together}) > 4  # a model that always says the same proves nothing


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_results_do_not_depend_on_the_batch_size(size: int) -> None:
    lm = tiny.model(seed=3)
    whole, parts = run(lm, requests(lm), 9), run(lm, requests(lm), size)
    assert [f.token_ids for f in whole] == [f.token_ids for f in parts]
    assert [f.text for f in whole] == [f.text for f in parts]


def test_finished_rows_are_dropped_and_ends_are_said() -> None:
    lm = tiny.model(seed=3)
    free = run(lm, requests(lm), 9)
    ending = free[0].token_ids[3]  # let a token that some rows write early end a generation
    found = run(LanguageModel(lm.model, lm.tokenizer, 1, 0, (ending,)), requests(lm), 9)
    for before, after in zip(free, found, strict=True):
        cut = before.token_ids.index(ending) + 1 if ending in before.token_ids else len(before.token_ids)
        assert after.token_ids == before.token_ids[:cut]
        assert after.stop_reason == ("end" if ending in before.token_ids else "length")
    assert {f.stop_reason for f in found} == {"end", "length"}


def test_a_stop_text_ends_and_is_cut_off() -> None:
    lm = tiny.model(seed=3)
    free = run(lm, requests(lm), 9)
    stop = lm.decode(free[0].token_ids[4:5])
    found = run(lm, requests(lm), 9, Limits(12, (f" {stop}",)))
    assert found[0].stop_reason == "stop_text"
    assert f" {stop}" not in found[0].text
    assert found[0].text == free[0].text[: free[0].text.index(f" {stop}")]
    assert lm.decode(found[0].token_ids) == found[0].text


def test_edits_that_change_nothing_reproduce_prompt_tuning_token_for_token() -> None:
    lm = tiny.model(seed=4)
    base = [Request(ids, prompt(lm, 7)) for ids in questions()]
    identity = Edit(masked=(2,), mask_value=1.0, gamma=0.0)
    edited = corrupt(prompt(lm, 7), identity, lm.embedding.weight.mean(0))
    again = [Request(ids, edited) for ids in questions()]
    mask = corrupt(prompt(lm, 7), Edit(masked=(2,), gamma=10), lm.embedding.weight.mean(0))
    masked = [Request(ids, mask) for ids in questions()]
    first = [f.token_ids for f in run(lm, base, 4)]
    assert first == [f.token_ids for f in run(lm, again, 9)]
    assert first != [f.token_ids for f in run(lm, masked, 9)]


def test_batches_hold_every_request_once_longest_first() -> None:
    asked = [Request([1] * n, None, expected_tokens=t) for n, t in ((3, 1), (9, 5), (2, 5), (4, 2), (5, 0))]
    assert plan_batches(asked, 2) == [[1, 2], [3, 0], [4]]


def test_a_generation_that_cannot_fit_is_refused_before_any_work() -> None:
    lm = tiny.model()
    with pytest.raises(DpcError, match="context is 128"):
        run(lm, [Request([5] * 100, prompt(lm, 0))], 1, Limits(40))
