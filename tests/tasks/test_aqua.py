"""AQuA: which letter a text gives as its answer."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpc.errors import DpcError
from dpc.tasks import get_task
from tests.readings import cases
from tests.support.formatting import behind_mark, wrapped
from tests.support.gold_rows import accepted_by_others, missed, rows_of, sample
from tests.support.paths import needs_data

task = get_task("aqua")

ROW = {
    "question": "What is 2 + 3?",
    "options": ["A)3", "B)4", "C)5", "D)6", "E)7"],
    "rationale": "2 + 3 = 5\nAnswer: C",
    "correct": "C",
}
WITHOUT_LETTER = {
    "dev.jsonl": [3, 20, 40, 79, 108, 114, 120, 137, 201, 217, 221, 249],
    "test.jsonl": [4, 44, 51, 71, 88, 100, 104, 131, 172, 185, 187, 197],
}
"""Rows whose rationale names no option, or not by its letter: every gold text that is not graded right."""


class TestParse:
    def test_parse(self) -> None:
        problem = task.parse(ROW)
        assert problem.question == "What is 2 + 3?\nA)3\nB)4\nC)5\nD)6\nE)7"
        assert problem.rationale == "2 + 3 = 5\nAnswer: C\n#### C"
        assert (problem.answer, problem.steps) == ("C", 2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"correct": "F"}, "field 'correct' is 'F'; expected one letter from A to E"),
            ({"correct": "AB"}, "field 'correct' is 'AB'"),
            ({"options": ["A)1"]}, "field 'options' is 1 options; expected a list of five"),
            ({"options": "A)1"}, r"field 'options' is text \('A\)1'\); expected a list of five"),
            ({"options": ["A)3", "C)4", "B)5", "D)6", "E)7"]}, r"has 'C\)4' where option B is due"),
            ({"rationale": " "}, "field 'rationale' is empty; expected text, such as '2 "),
        ],
    )
    def test_bad_row(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(DpcError, match=message):
            task.parse(ROW | change)


class TestExtract:
    @pytest.mark.parametrize(("text", "strict", "lenient"), cases("aqua"))
    def test_reading(self, text: str, strict: str | None, lenient: str | None) -> None:
        assert task.extract(text) == (strict, lenient)

    @pytest.mark.parametrize(
        "piece", ["B or ", "The answer is ", r"\boxed{", "A) B) C) ", "#### B is so\n", "(", "option "]
    )
    def test_long_text(self, piece: str) -> None:
        start = time.monotonic()
        task.extract(piece * (4000 // len(piece)))
        assert time.monotonic() - start < 2


def test_grade() -> None:
    assert task.grade("B", "B")
    assert not task.grade("A", "B")
    assert not task.grade(None, "B")
    with pytest.raises(DpcError, match="gold answer '' is no option"):
        task.grade("B", "")


FORMS = ("{0}", "({0})", "{0})", "{0}) 21", r"\text{{{0}}}")


class TestFormattingNeverChangesALetter:
    @settings(deadline=None, max_examples=300)
    @given(st.sampled_from("ABCDEabcde"), st.sampled_from([*FORMS, "{0}.", "Option {0}"]), st.data())
    def test_behind_the_mark(self, letter: str, form: str, data: st.DataObject) -> None:
        found = task.extract(data.draw(behind_mark(form.format(letter))))
        assert found == (letter.upper(), letter.upper())

    @settings(deadline=None, max_examples=300)
    @given(st.permutations("ABCDE"), st.sampled_from(FORMS), st.data())
    def test_said(self, letters: list[str], form: str, data: st.DataObject) -> None:
        letter, other = letters[:2]
        sentences = (
            *("A man has 5.\nThe answer is {0}.", "### Answer\n\n{0}", "**Final Answer:** {0}\n\nOption {1} is wrong."),
            *("So the answer is {0} and not {1}.", "({1}) is too big. Hence the correct option is {0}"),
        )
        text = data.draw(st.sampled_from(sentences))
        assert task.extract(text.format(data.draw(wrapped(form.format(letter))), other)) == (None, letter)


@needs_data
class TestRealData:
    def test_sample(self) -> None:
        rows = sample(rows_of("aqua", "test.jsonl"))
        assert len(missed("aqua", rows, "rationale", lenient=True)) <= 0.07 * len(rows)

    @pytest.mark.proof
    @pytest.mark.parametrize("file", ["dev.jsonl", "test.jsonl"])
    def test_all(self, file: str) -> None:
        rows = rows_of("aqua", file)
        assert len(rows) == 254
        assert missed("aqua", rows, "rationale", lenient=True) == WITHOUT_LETTER[file]
        assert accepted_by_others("aqua", rows, 200) == 0
