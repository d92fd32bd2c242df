"""Answers from drafts equal plain decoding token for token; what is drafted follows what it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dpc.config.methods import Act
from dpc.lm import decoding, prefill
from dpc.lm.decoding import Limits, Request, generate
from dpc.lm.drafts import MEMORY, Counted, Draft, Drafting, Speed, speed_of
from dpc.lm.layout import Layout
from dpc.lm.models import LanguageModel
from dpc.lm.prefill import Calibrated, pieces
from tests.support import tiny
from tests.support.answers import FAMILIES, LIMITS, Shapes, mixed, run, shared

by_family = pytest.mark.parametrize("family", FAMILIES)
EAGER = Speed(fixed=1e6, single=2.0)
"""As if every pass cost a million tokens: all drafts are as long as can be."""
SPEEDS = {"eager": EAGER, "some": Speed(fixed=12.0, single=1.5), "never": Speed(fixed=0.0, single=1.0)}

Answers = list[list[int]]
DRAFTS: dict[str, Callable[[list[int], list[int]], list[int]]] = {
    "the answer": lambda own, other: own,
    "the answer and more": lambda own, other: [*own, 7, 8, 9, *own],
    "half the answer": lambda own, other: own[: len(own) // 2],
    "one token": lambda own, other: own[:1],
    "another answer": lambda own, other: other,
    "wrong at once": lambda own, other: [own[0] + 1, *own[1:]],
    "wrong in the middle": lambda own, other: [*own[:4], own[4] + 1, *own[5:]] if len(own) > 4 else own,
    "a token too many": lambda own, other: [*own[:3], 5, *own[3:]],
    "a token too few": lambda own, other: [*own[:3], *own[4:]],
    "twice": lambda own, other: own[:6] * 2,
    "the end mark first": lambda own, other: [2, *own],
    "none for some": lambda own, other: own if own[0] % 2 else [],
}


def drafted(asked: Sequence[Request], answers: Answers, kind: str) -> list[Request]:
    others = answers[1:] + answers[:1]
    return [
        replace(request, draft=DRAFTS[kind](own, other))
        for request, own, other in zip(asked, answers, others, strict=True)
    ]


def said(
    lm: LanguageModel,
    asked: Sequence[Request],
    speed: Speed = EAGER,
    limits: Limits = LIMITS,
    size: int = 9,
    act: Calibrated | None = None,
) -> tuple[Answers, Drafting]:
    drafting, found = Drafting(speed), dict[int, list[int]]()
    for indices, made in generate(lm, Layout("bos_first", True), asked, limits, size, act, drafting):
        found.update(zip(indices, (one.token_ids for one in made), strict=True))
    return [found[i] for i in range(len(asked))], drafting


@by_family
@pytest.mark.parametrize("kind", DRAFTS)
@pytest.mark.parametrize("speed", SPEEDS)
def test_a_draft_changes_no_token(family: str, kind: str, speed: str) -> None:
    lm = tiny.model(family, seed=3)
    asked = mixed(lm)  # every row under its own prompt, one under none, one with hidden vectors
    plain = [found.token_ids for found in run(lm, asked, 9)]
    found, drafting = said(lm, drafted(asked, plain, kind), SPEEDS[speed])
    assert found == plain
    if speed == "never":
        assert drafting.drafted == 0
    elif kind not in ("one token", "another answer"):  # there the first token, which the prefill says, may end it
        assert drafting.drafted > 0


@by_family
@pytest.mark.parametrize("same", [7, 15])
@pytest.mark.parametrize("kind", ["the answer", "another answer", "wrong in the middle", "a token too many"])
def test_nor_behind_a_shared_prefix(family: str, same: int, kind: str) -> None:
    lm = tiny.model(family)
    asked = shared(lm, same)
    plain = [found.token_ids for found in run(lm, asked, 9)]
    for size in (9, 4, 1):
        assert said(lm, drafted(asked, plain, kind), size=size)[0] == plain


@by_family
@pytest.mark.parametrize("kind", ["the answer", "wrong in the middle", "a token too few"])
@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_nor_where_answers_end_otherwise(family: str, kind: str, length: int) -> None:
    """By an end mark that rows say early, by a stop text, or by their length; drafts that do not stop go past it."""
    lm = tiny.model(family, seed=3)
    asked = mixed(lm)
    free = [found.token_ids for found in run(lm, asked, 9, Limits(30))]
    ends = LanguageModel(lm.model, lm.tokenizer, 1, 0, (free[0][min(3, len(free[0]) - 1)],))
    texts = (lm.decode(free[1][1:3]), lm.decode(free[4][2:4]))
    for model, limits in ((ends, Limits(length)), (lm, Limits(length, texts)), (ends, Limits(length, texts))):
        plain = [found.token_ids for found in run(model, asked, 9, limits)]
        assert said(model, drafted(asked, free, kind), limits=limits)[0] == plain


@by_family
@pytest.mark.parametrize("kind", ["the answer", "none for some", "wrong in the middle"])
@pytest.mark.parametrize("mode", ["prefill_sets", "released"])
def test_nor_under_attention_calibration(family: str, kind: str, mode: str) -> None:
    lm = tiny.model(family)
    act = Calibrated(Act.model_validate({"tau": 0.1, "min_rows": 2, "mode": mode}), {0: [1], 1: [0, 2, 3]})
    asked = mixed(lm)
    plain, _ = said(lm, asked, act=act)
    assert plain != said(lm, asked)[0]
    found, drafting = said(lm, drafted(asked, plain, kind), act=act)
    assert found == plain
    assert (drafting.drafted > 0) == (mode == "prefill_sets")  # the released function's sinks hang on a pass's rows


def test_right_drafts_save_passes() -> None:
    lm = tiny.model(seed=3)
    asked = mixed(lm)
    plain, without = said(lm, asked)
    assert without.passes == max(map(len, plain)) - 1  # the prefill says the first token
    assert without.summary().startswith(f"{without.passes} passes behind the prefill, 1.00 tokens of a row in one; 0 ")
    _, exact = said(lm, drafted(asked, plain, "the answer"))
    assert exact.passes == 1
    assert (
        exact.accepted
        == exact.drafted
        == sum(len(tokens) - 1 for tokens in plain)
        - sum(
            len(tokens) == LIMITS.max_new_tokens
            for tokens in plain  # the last token of the longest is not worth a place
        )
    )
    _, wrong = said(lm, drafted(asked, plain, "wrong in the middle"))
    assert wrong.passes < without.passes / 2
    _, early = said(lm, drafted(asked, plain, "a token too many"))  # looked up from the third token on
    assert early.passes < without.passes


def test_questions_that_wait_are_checked_against_drafts_of_their_own() -> None:
    lm = tiny.model(seed=3)
    asked = mixed(lm)
    plain, without = said(lm, asked, size=3)
    found, exact = said(lm, drafted(asked, plain, "the answer"), size=3)
    assert found == plain
    assert exact.accepted == exact.drafted > 0
    assert exact.passes == 3 < without.passes / 3  # three questions in each


def test_what_an_earlier_try_said_is_checked_first_and_whole() -> None:
    lm = tiny.model(seed=3)
    asked = mixed(lm)
    plain, _ = said(lm, asked)
    begun = [replace(request, draft=tokens[:8], sure=8) for request, tokens in zip(asked, plain, strict=True)]
    found, drafting = said(lm, begun, SPEEDS["never"])
    assert found == plain
    assert drafting.drafted == drafting.accepted == sum(min(8, len(tokens)) - 1 for tokens in plain)
    assert drafting.passes == 1 + max(map(len, plain)) - 9
    bad = [replace(request, draft=[*request.draft[:3], 9, 9, 9, 9], sure=8) for request in begun]
    assert said(lm, bad, SPEEDS["never"])[0] == plain  # a file that lies costs time


@pytest.mark.parametrize("tokens", [1, 7, 40, 10**6])
@pytest.mark.parametrize("family", ["llama-gqa", "mistral", "gemma2"])
@pytest.mark.parametrize("same", [0, 7])
def test_pieces_of_any_size_say_the_same(family: str, tokens: int, same: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny.model(family)
    asked = shared(lm, same)
    plain = [found.token_ids for found in run(lm, asked, 9)]
    monkeypatch.setattr(decoding, "tokens_at_once", lambda lm: tokens)
    with Shapes(lm) as shapes:
        assert said(lm, asked)[0] == plain
        assert said(lm, drafted(asked, plain, "the answer"))[0] == plain
    sizes = [rows * columns for rows, columns in shapes if (rows, columns) != (1, 1 + same)]
    assert max(sizes) <= max(tokens, 12)  # a draft of a row stands alone
    assert tokens < 10**6 or len(shapes) < 25


@pytest.mark.parametrize("act", [None, Calibrated(Act(tau=0.1, min_rows=2), {0: [1], 2: [0, 3]})])
def test_memory_that_was_never_written_is_never_read(act: Calibrated | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies there may be NaN, and 0 times NaN is NaN."""
    lm = tiny.model(seed=3)
    asked = mixed(lm)
    plain, _ = said(lm, asked, act=act)
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *a, **k: empty(*a, **k).fill_(float("nan")))
    monkeypatch.setattr(decoding, "tokens_at_once", lambda lm: 20)
    for kind in ("the answer", "none for some", "a token too few"):
        assert said(lm, drafted(asked, plain, kind), act=act)[0] == plain


@given(st.lists(st.integers(1, 30), min_size=1, max_size=30), st.integers(1, 100))
def test_pieces_hold_every_row_once_and_no_more_than_fits(widths: list[int], tokens: int) -> None:
    found = [widths[piece] for piece in pieces(widths, tokens)]
    assert [width for piece in found for width in piece] == widths
    assert all(len(piece) == 1 or len(piece) * max(piece) <= tokens for piece in found)


def test_a_pass_is_bounded_by_tokens_and_by_operations() -> None:
    assert prefill.tokens_at_once(tiny.model()) == prefill.MOST_TOKENS


# what is worth drafting


@pytest.mark.parametrize(
    ("rate", "worth", "expected"),
    [
        (0.5, 1.0, 0),  # a token saved is worth one drafted: nothing pays
        (0.5, 1.9, 0),
        (0.5, 2.1, 1),  # .5 x 2.1 > 1
        (0.5, 4.1, 2),
        (0.9, 2.0, 6),  # .9^6 x 2 = 1.06
        (0.99, 2.0, 68),
    ],
)
def test_as_many_tokens_are_drafted_as_pay_for_themselves(rate: float, worth: float, expected: int) -> None:
    assert Counted(rate * 100, 100).length(worth) == expected


def test_drafts_get_longer_as_fewer_rows_share_a_pass() -> None:
    drafting = Drafting(Speed(fixed=30.0, single=1.5))
    lengths = [drafting.looked_up.length(drafting.worth(rows)) for rows in (1000, 60, 10, 1)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_drafts_that_are_never_said_are_given_up() -> None:
    drafting = Drafting(Speed(fixed=30.0, single=1.5))
    assert drafting.ahead([40] * 60, 60) > 0
    for _ in range(3):
        drafting.count([[5] * 5] * 60, [0] * 60, drafting.going_on)
    assert drafting.ahead([40] * 60, 60) == 0


def test_a_few_rows_do_not_go_ahead_alone_where_a_pass_is_dear() -> None:
    drafting = Drafting(Speed(fixed=1000.0, single=1.5), Counted(99, 100))
    assert drafting.ahead([40], 250) == 0
    assert drafting.ahead([40] * 200, 250) == 40


def test_padding_counts_as_work() -> None:
    drafting = Drafting(Speed(fixed=30.0, single=1.5))
    assert drafting.pays([[1, 2]] * 30)
    assert not drafting.pays([[1, 2]] + [[]] * 29)


def test_what_was_counted_long_ago_weighs_less() -> None:
    counted = Counted(1, 2)
    for _ in range(100):
        counted.add(100, 100)
    assert counted.rate > 0.99
    for _ in range(2 * MEMORY):
        counted.add(1, 0)
    assert counted.rate < 0.2


def test_only_a_draft_that_was_said_word_for_word_goes_on() -> None:
    draft = Draft([4, 5, 6, 7, 8])
    draft.note([4, 5], 0)
    assert draft.rest([4, 5]) == [6, 7, 8]
    draft.note([4, 5, 9], 2)
    assert draft.rest([4, 5, 9]) == []
    draft.note([4, 5, 9, 7], 3)
    assert draft.rest([4, 5, 9, 7]) == []


def test_the_last_tokens_are_looked_up_in_the_draft() -> None:
    draft = Draft([1, 2, 3, 4, 9, 1, 2, 3, 5])
    assert draft.looked_up([8, 2, 3, 4]) == [9, 1, 2, 3, 5]
    assert draft.looked_up([1, 2, 3]) == [5]  # where it stands last
    assert draft.looked_up([2, 3, 5]) == []
    assert draft.looked_up([7, 7, 7]) == draft.looked_up([3]) == []


def test_the_costs_of_a_pass_come_from_the_models_size() -> None:
    small, large = speed_of(tiny.model()), speed_of(tiny.model(dtype=torch.bfloat16))
    assert small.fixed > large.fixed > 10
