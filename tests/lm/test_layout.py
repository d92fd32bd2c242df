"""Where tokens lie: spans, padding, position ids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.lm.layout import Layout, check_length, left_padded, right_padded, shared_prefix
from tests.support import tiny

LM = tiny.model()
ids = st.lists(st.integers(3, 60), min_size=1, max_size=9)
rows = st.lists(st.tuples(ids, ids), min_size=1, max_size=4)
orders = st.sampled_from(["bos_first", "prompt_first"])


def vectors(count: int) -> torch.Tensor:
    """Vectors that no token has, so that they can be told from tokens."""
    return torch.arange(1, count + 1)[:, None].expand(-1, tiny.SHAPE["hidden_size"]) * 1000.0


def expected(order: str, count: int, tokens: list[int]) -> torch.Tensor:
    """The sequence without padding, spelt out."""
    weight_VD = LM.embedding.weight
    bos, prompt = weight_VD[[1]], vectors(count)
    return torch.cat([*((bos, prompt) if order == "bos_first" else (prompt, bos)), weight_VD[tokens]])


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 4), orders)
def test_left_padded_rows_end_together_and_positions_count_from_zero(rows, count, order) -> None:
    questions = [q for q, _ in rows]
    batch = left_padded(LM, Layout(order, True), [vectors(count)] * len(rows), questions)
    for b, question in enumerate(questions):
        row = expected(order, count, question)
        assert torch.equal(batch.embeds_BSD[b, -len(row) :], row)
        assert batch.mask_BS[b].sum() == len(row) == batch.mask_BS[b, -len(row) :].sum()
        assert batch.position_ids_BS[b, -len(row) :].tolist() == list(range(len(row)))


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 4), orders)
def test_right_padded_rows_start_together_and_rows_predict_the_next_token(rows, count, order) -> None:
    questions, rationales = [q for q, _ in rows], [r for _, r in rows]
    layout = Layout(order, True)
    batch = right_padded(LM, layout, vectors(count), questions, rationales)
    assert batch.question_start == layout.question_start(count)
    prompt = slice(layout.prompt_start(), layout.prompt_start() + count)
    for b, (question, rationale) in enumerate(rows):
        row = expected(order, count, question + rationale)
        assert torch.equal(batch.embeds_BSD[b, : len(row)], row)
        assert torch.equal(batch.embeds_BSD[b, prompt], vectors(count))
        for position, token in zip(batch.predicting_rows(b), rationale, strict=True):
            assert torch.equal(batch.embeds_BSD[b, position + 1], LM.embedding.weight[token])


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(1, 4), orders, st.data())
def test_what_is_shared_is_left_out_and_pads_stand_behind_it(rows, count, order, data) -> None:
    questions = [q for q, _ in rows]
    layout, prompts = Layout(order, True), [vectors(count)] * len(rows)
    shared = data.draw(st.integers(0, count + 1))
    batch = left_padded(LM, layout, prompts, questions, shared=shared)
    for b, question in enumerate(questions):
        row = expected(order, count, question)
        is_seen = batch.mask_BS[b].bool()
        assert is_seen.tolist() == [True] * shared + [False] * (len(is_seen) - len(row)) + [True] * (len(row) - shared)
        assert batch.position_ids_BS[b, is_seen].tolist() == list(range(len(row)))
        assert torch.equal(batch.embeds_BSD[b, is_seen[shared:]], row[shared:])


@pytest.mark.parametrize(("order", "bos"), [("bos_first", 1), ("prompt_first", 0)])
def test_a_shared_prefix_ends_where_a_prompt_differs_is_hidden_or_ends(order: str, bos: int) -> None:
    layout, one, other = Layout(order, True), vectors(5), vectors(5)
    other[3] = 7.0

    def length(prompts, hidden=((), ())) -> int:
        prefix_KD = shared_prefix(LM, layout, prompts, hidden)
        assert torch.equal(prefix_KD, expected(order, 5, [])[: len(prefix_KD)])
        return len(prefix_KD)

    assert length([one, one.clone()]) == 6
    assert length([one, other]) == bos + 3
    assert length([one, one], ((4,), (2, 4))) == bos + 2
    assert length([one, None]) == bos
    assert length([one, one[:2]]) == bos + 2


def test_each_row_has_its_own_prompt_or_none() -> None:
    batch = left_padded(LM, Layout("bos_first", True), [vectors(2), None], [[5], [5, 6]])
    assert batch.mask_BS.tolist() == [[1, 1, 1, 1], [0, 1, 1, 1]]
    assert torch.equal(batch.embeds_BSD[1, 1:], LM.embedding.weight[[1, 5, 6]])


def test_a_hidden_vector_keeps_its_position() -> None:
    layout = Layout("bos_first", True)
    plain = left_padded(LM, layout, [vectors(3)] * 2, [[5], [5, 6]])
    hidden = left_padded(LM, layout, [vectors(3)] * 2, [[5], [5, 6]], hidden=[(1,), ()])
    assert torch.equal(plain.position_ids_BS, hidden.position_ids_BS)
    assert (plain.mask_BS - hidden.mask_BS).nonzero().tolist() == [[0, 3]]  # pad, BOS, p0, p1


def test_what_does_not_fit_the_context_is_refused() -> None:
    check_length(LM, 100, 20, 7)
    with pytest.raises(DpcError, match=r"make 129 tokens, but the model's context is 128"):
        check_length(LM, 100, 20, 8)
