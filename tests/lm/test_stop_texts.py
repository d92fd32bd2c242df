"""Stop texts: found where they are complete, wherever the tokens' borders lie, and cut off."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.lm.decoding import Limits
from dpc.lm.ending import Ending
from dpc.lm.models import LanguageModel
from tests.support import tiny
from tests.support.answers import mixed, run


class Pieces:
    """A tokenizer whose token i stands for the bytes pieces[i]; a letter may be cut in the middle."""

    def __init__(self, pieces: list[bytes]):
        self.pieces = pieces
        self.decoded = 0

    def decode(self, ids: list[int], **kwargs: Any) -> str:
        self.decoded += 1
        return b"".join(self.pieces[i] for i in ids).decode(errors="replace")


def ending(pieces: list[bytes], stop: tuple[str, ...], end_ids: tuple[int, ...] = ()) -> tuple[Ending, Pieces]:
    tokenizer = Pieces(pieces)
    return Ending(LanguageModel(SimpleNamespace(), tokenizer, None, 0, end_ids), stop, 10**6), tokenizer


letters = st.text(st.sampled_from("ab\né…"), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(st.lists(letters, min_size=1, max_size=3), st.lists(letters, max_size=20), st.data())
def test_a_row_ends_with_the_token_that_completes_a_stop_text(stop: list[str], said: list[str], data: Any) -> None:
    whole = "".join(said).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole))), "cuts") | {0, len(whole)})
    pieces = [whole[a:b] for a, b in pairwise(cuts)]
    judge, tokenizer = ending(pieces, tuple(stop))
    for count in range(1, len(pieces) + 1):
        tokens = list(range(count))
        expected = any(text in tokenizer.decode(tokens) for text in stop)
        assert judge.after(tokens) == expected
        if expected:
            break


def test_text_that_completes_nothing_is_not_read_again_and_again() -> None:
    pieces = [b"one", b" and", b" two", b"\nQ", b":"]
    judge, tokenizer = ending(pieces, ("\nQ:",))
    said = [0, 1, 2] * 200
    assert not any(judge.after(said[:n]) for n in range(1, len(said)))
    assert tokenizer.decoded == 3  # each kind of token once
    assert not judge.after([0, 3])
    assert judge.after([0, 3, 4])


def test_what_only_the_last_tokens_seem_to_say_does_not_end_a_row() -> None:
    pieces = [b"\xc3", b"\xa9"]  # together one letter: out of context the second reads as a broken one
    judge, _ = ending(pieces, ("\ufffd",))
    assert not judge.after([0, 1] * 40)
    assert judge.after([0, 1] * 40 + [1])


def test_the_space_before_a_word_completes_a_stop_text() -> None:
    lm = tiny.model()
    judge = Ending(lm, (lm.decode([40]) + " ",), 10**6)
    assert [judge.after([40, 41, 42][:n]) for n in (1, 2)] == [False, True]


def test_end_marks_end_a_row_with_or_without_stop_texts() -> None:
    for stop in ((), ("x",)):
        judge, _ = ending([b"a", b"b", b"c"], stop, end_ids=(1, 2))
        assert [judge.after([0, last]) for last in range(3)] == [False, True, True]


@pytest.mark.parametrize("words", [1, 2, 3])
def test_a_stop_text_ends_and_is_cut_off(words: int) -> None:
    lm = tiny.model(seed=3)
    free = run(lm, mixed(lm), 9)
    stop = " " + lm.decode(free[0].token_ids[4 : 4 + words])
    found = run(lm, mixed(lm), 9, Limits(12, (stop,)))
    for before, after in zip(free, found, strict=True):
        assert (after.stop_reason == "stop_text") == (stop in before.text)
        assert after.text == before.text.split(stop)[0]
        assert lm.decode(after.token_ids) == after.text
    assert found[0].stop_reason == "stop_text"
