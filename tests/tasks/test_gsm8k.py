"""GSM8K: which number a text gives as its answer, and which numbers are equal."""

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

task = get_task("gsm8k")

ROW = {
    "question": "How many?",
    "answer": "3 + 4 = <<3+4=7>>7 pens.\n7 * 1,000 = <<7*1000=7000>>7,000\n#### 7,000",
}


def is_same(found: str | None, value: str | None) -> bool:
    return found is None if value is None else task.grade(found, value)


class TestParse:
    def test_parse(self) -> None:
        problem = task.parse(ROW)
        assert problem.rationale == "3 + 4 = 7 pens.\n7 * 1,000 = 7,000\n#### 7,000"
        assert (problem.answer, problem.steps) == ("7000", 2)
        assert task.grade(task.extract(problem.rationale)[0], problem.answer)

    @pytest.mark.parametrize("answer", ["so it is 7", "7\n####", "#### seven"])
    def test_gold_without_number(self, answer: str) -> None:
        with pytest.raises(DpcError, match="expected a last line like '#### 72'"):
            task.parse({"question": "?", "answer": answer})


class TestExtract:
    @pytest.mark.parametrize(("text", "strict", "lenient"), cases("gsm8k"))
    def test_reading(self, text: str, strict: str | None, lenient: str | None) -> None:
        found = task.extract(text)
        assert is_same(found[0], strict), found
        assert is_same(found[1], lenient), found

    @pytest.mark.parametrize("text", ["#### 9\u00a0500", "#### 9\u202f500", "#### 9500\r\n", "\ufeff#### 9500"])
    def test_unseen_characters(self, text: str) -> None:
        assert is_same(task.extract(text)[0], "9500")

    @pytest.mark.parametrize(
        ("content", "written"),
        [
            ("$1,234.50", "1234.50"),
            ("-$3", "-3"),
            ("36/2", "36/2"),
            ("2 1/2", "2.5"),
            ("2 million", "2000000"),
            ("1.5e3", "1500"),
            ("2 1/3", "7/3"),
            ("2 dozen", "2 dozen"),
        ],
    )
    def test_written(self, content: str, written: str) -> None:
        assert task.extract(f"#### {content}")[0] == written

    @pytest.mark.parametrize(
        "piece", ["9 ", "$", "**", r"\boxed{", r"\frac{", "The answer is 18. ", "#### 3 x ", "(", "9,"]
    )
    def test_long_text(self, piece: str) -> None:
        start = time.monotonic()
        task.extract(f"#### {piece * (4000 // len(piece))}")
        assert time.monotonic() - start < 2


class TestGrade:
    @pytest.mark.parametrize(
        "found", ["18", "18.00", "$18", "18.", "18 apples", "18%", "36/2", "+18", " 18", "3 x 6 = 18"]
    )
    def test_equal(self, found: str) -> None:
        assert task.grade(found, "18")

    @pytest.mark.parametrize(
        "found", [None, "", "1.8", "-18", "180", "18/5", "18/0", "18.01", "eighteen", "9" * 5000, "1e999", "18e99999"]
    )
    def test_unequal(self, found: str | None) -> None:
        assert not task.grade(found, "18")

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("#### 9{,}500", "9"),
            ("#### 2 1/2", "2"),
            ("#### 2 1/2", "1/2"),
            ("#### 2 million", "2"),
            ("#### 1.5e3", "1.5"),
            ("#### 3 x 6 = 18", "3"),
            ("#### –18", "18"),
            ("#### 1/3", "0.333333"),
            ("#### 18 m", "18000000"),
            ("#### 5:30", "5"),
            ("#### 2 7/3", "13/3"),
            ("#### 3,5", "3"),
        ],
    )
    def test_not_misread(self, text: str, wrong: str) -> None:
        assert not any(task.grade(found, wrong) for found in task.extract(text)[:1])

    def test_gold_must_be_a_number(self) -> None:
        with pytest.raises(DpcError, match="gold answer 'many' is not a number"):
            task.grade("1", "many")


@st.composite
def numbers(draw: Any) -> tuple[str, str]:
    """Draw a value and a way to write it."""
    whole, decimals = draw(st.integers(0, 10**8)), draw(st.sampled_from(["", ".5", ".25", ".00"]))
    minus = draw(st.booleans())
    sign = draw(st.sampled_from("-–−") if minus else st.sampled_from(["", "+"]))
    digits = f"{whole:,}".replace(",", draw(st.sampled_from(["", ",", "{,}", " ", r"\,", "\u202f"]))) + decimals
    currency = draw(st.sampled_from(["", "$", r"\$", "$ ", "€", "US$"]))
    unit = draw(st.sampled_from(["", " dollars", "%", r"\%", " km/h", " cm^2", r"\text{ apples}"]))
    is_inside = currency not in ("", "US$") and draw(st.booleans())
    return f"{'-' * minus}{whole}{decimals}", (currency + sign if is_inside else sign + currency) + digits + unit


class TestFormattingNeverChangesANumber:
    @settings(deadline=None, max_examples=300)
    @given(numbers(), st.data())
    def test_behind_the_mark(self, number: tuple[str, str], data: st.DataObject) -> None:
        value, form = number
        strict, lenient = task.extract(data.draw(behind_mark(form)))
        assert is_same(strict, value)
        assert is_same(lenient, value)

    @settings(deadline=None, max_examples=300)
    @given(numbers(), st.data())
    def test_said(self, number: tuple[str, str], data: st.DataObject) -> None:
        value, form = number
        sentences = ("It is 5. So {}", "5 + 6.\nThe answer is {}, as 5 is 6.", "**Final Answer:** {}\n\nNote: 5 of 6")
        text = data.draw(
            st.sampled_from([*sentences, "So the answer is {} because 5 + 6 = 11", "### Answer\n\n{}\n\nSee 5"])
        )
        strict, lenient = task.extract(text.format(data.draw(wrapped(form))))
        assert strict is None
        assert is_same(lenient, value)


@needs_data
class TestRealData:
    def test_sample(self) -> None:
        rows = sample(rows_of("gsm8k", "test.jsonl"))
        assert missed("gsm8k", rows, "answer") == []
        assert accepted_by_others("gsm8k", rows, 20) == 0

    @pytest.mark.proof
    @pytest.mark.parametrize(("file", "count"), [("train.jsonl", 7473), ("test.jsonl", 1319)])
    def test_all(self, file: str, count: int) -> None:
        rows = rows_of("gsm8k", file)
        assert len(rows) == count
        assert missed("gsm8k", rows, "answer") == []
        assert accepted_by_others("gsm8k", rows, 200) == 0
