"""Batched greedy decoding against one-at-a-time decoding without a cache, and against transformers' `generate`."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.lm import cache, decoding
from dpc.lm.cache import Past
from dpc.lm.decoding import Limits, Request, order_of_work
from dpc.lm.layout import Layout, left_padded
from dpc.lm.models import LanguageModel
from dpc.prompts.edits import Edit
from dpc.prompts.soft_prompt import corrupt
from tests.support import tiny
from tests.support.answers import FAMILIES, LIMITS, Shapes, mixed, prompt, questions, run, shared, slow

by_family = pytest.mark.parametrize("family", FAMILIES)


@by_family
@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
def test_a_ragged_batch_equals_one_at_a_time(family: str, order: str) -> None:
    lm = tiny.model(family)
    asked = mixed(lm)
    together = run(lm, asked, 9, order=order)
    for request, found in zip(asked, together, strict=True):
        assert found.token_ids == slow(lm, request, order)
    assert len({tuple(found.token_ids) for found in together}) > 4  # a model that always says the same proves nothing


@by_family
@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
def test_rows_that_share_a_prefix_equal_one_at_a_time(family: str, order: str) -> None:
    lm = tiny.model(family)  # window 12: it ends inside the prefix, behind it, and among the new tokens
    asked = shared(lm, same=15)
    with Shapes(lm) as shapes:
        together = run(lm, asked, 9, order=order)
    assert shapes[:2] == [(1, 16), (9, 12)]  # BOS and prompt once, then the questions
    for request, found in zip(asked, together, strict=True):
        assert found.token_ids == slow(lm, request, order)
    assert len({tuple(found.token_ids) for found in together}) > 4


@pytest.mark.parametrize("family", ["llama-gqa", "mistral", "gemma2"])
@pytest.mark.parametrize(("order", "prefix"), [("bos_first", 8), ("prompt_first", 7)])
def test_the_prefix_ends_at_the_first_vector_that_differs(family: str, order: str, prefix: int) -> None:
    lm = tiny.model(family)
    asked = shared(lm, same=7)
    with Shapes(lm) as shapes:
        together = run(lm, asked, 9, order=order)
    assert shapes[:2] == [(1, prefix), (9, 28 - prefix)]
    for request, found in zip(asked, together, strict=True):
        assert found.token_ids == slow(lm, request, order)


@by_family
def test_the_prefix_ends_at_the_first_hidden_vector(family: str) -> None:
    lm = tiny.model(family)
    asked = shared(lm, same=15)
    asked = [replace(request, hidden=(6 + i, 14 - i)) for i, request in enumerate(asked)]
    with Shapes(lm) as shapes:
        together = run(lm, asked, 9)
    assert shapes[:2] == [(1, 7), (9, 21)]
    said = [found.token_ids for found in together]
    assert said == [slow(lm, request, "bos_first") for request in asked]
    assert said != [slow(lm, replace(request, hidden=()), "bos_first") for request in asked]


@by_family
@pytest.mark.parametrize("same", [0, 7, 15])
def test_a_batch_equals_transformers_generate_token_for_token(family: str, same: int) -> None:
    lm = tiny.model(family)
    asked = shared(lm, same)
    asked[2] = Request(asked[2].question_ids, None) if same == 0 else asked[2]
    batch = left_padded(lm, Layout("bos_first", True), [r.prompt_ND for r in asked], [r.question_ids for r in asked])
    theirs = lm.model.generate(
        inputs_embeds=batch.embeds_BSD,
        attention_mask=batch.mask_BS,
        max_new_tokens=LIMITS.max_new_tokens,
        do_sample=False,
    )
    for found, tokens in zip(run(lm, asked, 9), theirs.tolist(), strict=True):
        assert found.token_ids == (tokens[: tokens.index(2) + 1] if 2 in tokens else tokens)


@pytest.mark.parametrize("size", [1, 2, 5, 16])
@pytest.mark.parametrize("same", [0, 7, 15])
def test_results_do_not_depend_on_the_batch_size(size: int, same: int) -> None:
    lm = tiny.model(seed=3)
    asked = mixed(lm) + shared(lm, same)
    whole, parts = run(lm, asked, 18), run(lm, asked, size)
    assert [f.token_ids for f in whole] == [f.token_ids for f in parts]
    assert [f.text for f in whole] == [f.text for f in parts]


def test_a_batch_that_does_not_fit_halves_and_says_the_same(caplog: pytest.LogCaptureFixture) -> None:
    lm = tiny.model(seed=3)
    asked = shared(lm, same=15)
    whole = run(lm, asked, 9)
    with caplog.at_level(logging.WARNING), Shapes(lm, fits=3):
        found = run(lm, asked, 9)
    assert [f.token_ids for f in whole] == [f.token_ids for f in found]
    assert "out of memory with 9 rows in a batch; continuing with 5" in caplog.text
    assert len({f.seconds for f in found}) == 1  # seconds are a batch's, of which three rows are there at once
    assert len({f.seconds for f in whole}) == 1


def test_questions_that_wait_take_places_that_are_free() -> None:
    lm = tiny.model(seed=3)
    prompts, limits = [prompt(lm, 7), prompt(lm, 8)], Limits(40)
    asked = [Request(ids, prompts[i % 2]) for i, ids in enumerate(questions(64))]
    ends = {found.token_ids[n] for n, found in enumerate(run(lm, asked, 64, limits)[:12], 2)}
    ending, running = LanguageModel(lm.model, lm.tokenizer, 1, 0, tuple(ends)), list[int]()
    whole = run(ending, asked, 64, limits)
    with Shapes(lm) as shapes:
        found = run(ending, asked, 16, limits, beat=lambda indices, said, left: running.append(left))
    said = [len(f.token_ids) for f in found]
    assert [f.token_ids for f in found] == [f.token_ids for f in whole]
    assert len(set(said)) > 4
    prefills = [rows for rows, columns in shapes[1:] if columns > 1]  # behind those of the prompts
    assert prefills[0] == 16
    assert sum(prefills) == 64
    assert 2 <= min(prefills[1:-1]) < 16  # an eighth of the places at least, not one by one
    passes = [rows for rows, columns in shapes if columns == 1]
    assert max(passes) == 16
    assert sum(passes) == sum(said) - len(asked)  # a row's first token comes with its question
    in_batches = sum(max(said[start : start + 16]) - 1 for start in range(0, 64, 16))
    assert len(passes) < 0.75 * in_batches
    assert running[0] == 64  # those that wait have not ended
    assert running == sorted(running, reverse=True)


@pytest.mark.parametrize("places", [64, 16])
def test_rows_that_are_gone_take_no_more_memory(places: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was never written is NaN here, so nothing may read it: a row may begin where another has long ended."""
    lm, pasts = tiny.model(seed=3), list[Past]()
    asked, limits = [Request(ids, prompt(lm, 7)) for ids in questions(64)], Limits(40)
    ends = {found.token_ids[n] for n, found in enumerate(run(lm, asked, 64, limits)[:8], 2)}
    ending = LanguageModel(lm.model, lm.tokenizer, 1, 0, tuple(ends))
    whole = run(ending, asked, 64, limits)
    empty, begin = torch.Tensor.new_empty, decoding.begin
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *a, **k: empty(*a, **k).fill_(float("nan")))
    monkeypatch.setattr(decoding, "begin", lambda *a: pasts.append(begin(*a)) or pasts[-1])
    monkeypatch.setattr(cache, "CLEARED_AT_ONCE", 1)
    found = run(ending, asked, places, limits)
    assert [f.token_ids for f in found] == [f.token_ids for f in whole]
    for layer in pasts[0].cache.layers:
        written_BS = ~layer.rooms[0].isnan().any(dim=3).any(dim=1)
        columns = written_BS.sum(1).tolist()
        assert columns == sorted(columns, reverse=True)  # the last row takes the place of one that ends
        assert columns[0] >= pasts[0].filled
        assert columns[-1] + 8 < columns[0]


@by_family
@pytest.mark.parametrize("order", ["bos_first", "prompt_first"])
def test_each_prompt_is_run_once_where_few_are_different(family: str, order: str) -> None:
    lm = tiny.model(family)
    prompts = [prompt(lm, i, 15) for i in range(3)]
    asked = [Request(ids, prompts[i % 3]) for i, ids in enumerate(questions(24))]
    with Shapes(lm) as shapes:
        found = run(lm, asked, 12, order=order)  # half of the questions wait
    assert shapes[0] == (3, 16)
    assert max(columns for _, columns in shapes[1:]) <= 12  # questions alone
    assert [f.token_ids for f in found] == [slow(lm, request, order) for request in asked]
    assert len({tuple(f.token_ids) for f in found}) > 12


def test_prompts_are_run_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model(seed=3)
    prompts = [prompt(lm, i, 15) for i in range(3)]
    asked = [Request(ids, prompts[i % 3]) for i, ids in enumerate(questions(12))]
    whole, beats = run(lm, asked, 12), list[int]()
    monkeypatch.setattr(decoding, "tokens_at_once", lambda lm: 20)
    with Shapes(lm) as shapes:
        found = run(lm, asked, 12, beat=lambda indices, said, left: beats.append(sum(map(len, said))))
    assert shapes[:3] == [(1, 16)] * 3
    assert beats.count(0) == sum(columns > 1 for _, columns in shapes)  # a look up behind each of them
    assert [f.token_ids for f in found] == [f.token_ids for f in whole]


@pytest.mark.parametrize("other", ["longer", "hidden", "too many"])
def test_other_prompts_are_run_with_their_questions(other: str) -> None:
    lm = tiny.model(seed=3)
    prompts = [prompt(lm, i, 15 + (other == "longer" and i == 1)) for i in range(4 if other == "too many" else 3)]
    hidden = (2,) if other == "hidden" else ()
    asked = [Request(ids, prompts[i % len(prompts)], hidden) for i, ids in enumerate(questions(12))]
    with Shapes(lm) as shapes:
        found = run(lm, asked, 12)
    assert (min(map(len, prompts)) + 1) not in [columns for _, columns in shapes]
    assert [f.token_ids for f in found] == [slow(lm, request, "bos_first") for request in asked]


def test_finished_rows_are_dropped_and_ends_are_said() -> None:
    lm = tiny.model(seed=3)
    free = run(lm, mixed(lm), 9)
    ending = free[0].token_ids[3]  # let a token that some rows write early end a generation
    other = LanguageModel(lm.model, lm.tokenizer, 1, 0, (ending,))
    with Shapes(lm) as shapes:
        found = run(other, mixed(lm), 9)
    for before, after in zip(free, found, strict=True):
        cut = before.token_ids.index(ending) + 1 if ending in before.token_ids else len(before.token_ids)
        assert after.token_ids == before.token_ids[:cut]
        assert after.stop_reason == ("end" if ending in before.token_ids else "length")
    assert {f.stop_reason for f in found} == {"end", "length"}
    lengths = [len(f.token_ids) for f in found]  # the model sees a row as often as it says a token, never again
    assert [rows for rows, _ in shapes] == [sum(n > step for n in lengths) for step in range(max(lengths))]


def test_rows_that_end_in_any_order_leave_the_others_as_they_are() -> None:
    lm = tiny.model(seed=3)
    asked = [Request(ids, prompt(lm, i)) for i, ids in enumerate(questions(24))]
    free = run(LanguageModel(lm.model, lm.tokenizer, 1, 0, (-1,)), asked, 24)
    for ending in sorted({token for found in free for token in found.token_ids[:6]}):
        found = run(LanguageModel(lm.model, lm.tokenizer, 1, 0, (ending,)), asked, 24)
        for before, after in zip(free, found, strict=True):
            assert after.token_ids == before.token_ids[: len(after.token_ids)]
            assert after.token_ids[-1] == ending or len(after.token_ids) == LIMITS.max_new_tokens


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


def test_the_longest_come_first() -> None:
    asked = [Request([1] * n, torch.zeros(1), expected_tokens=t) for n, t in ((3, 1), (9, 5), (2, 5), (4, 2), (5, 0))]
    assert order_of_work(asked) == [1, 2, 3, 0, 4]


def test_questions_under_a_prompt_come_together() -> None:
    asked = [Request([1], None, expected_tokens=i, group=group) for i, group in enumerate([1, 0, 2, 0, 0, 1])]
    assert order_of_work(asked) == [4, 3, 1, 5, 0, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=40), st.integers(1, 6), st.data())
def test_batches_left_out_leave_the_others_as_they_were(
    rows: list[tuple[int, int]], size: int, data: st.DataObject
) -> None:
    def batches(kept: list[int]) -> list[list[int]]:
        asked = [Request([1] * rows[i][1], None, group=rows[i][0]) for i in kept]
        order = [kept[i] for i in order_of_work(asked)]
        return [order[start : start + size] for start in range(0, len(order), size)]

    whole = batches(list(range(len(rows))))
    left = [batch for batch in whole if data.draw(st.booleans())]
    assert batches(sorted(i for batch in left for i in batch)) == left


def test_a_generation_that_cannot_fit_is_refused_before_any_work() -> None:
    lm = tiny.model()
    with Shapes(lm) as shapes, pytest.raises(DpcError, match="context is 128"):
        run(lm, [Request([5], None), Request([5] * 100, prompt(lm, 0))], 1, Limits(40))
    assert not shapes
