"""Extraction and grading of the benchmarks."""

from __future__ import annotations

import random
from typing import Any

import pytest

from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks.rows import read_rows
from tests.support.paths import DATA, needs_data

pytestmark = pytest.mark.long


GSM8K_ROW = {
    "question": "How many?",
    "answer": "3 + 4 = <<3+4=7>>7 pens.\n7 * 1,000 = <<7*1000=7000>>7,000\n#### 7,000",
}
AQUA_ROW = {
    "question": "What is 2 + 3?",
    "options": ["A)3", "B)4", "C)5", "D)6", "E)7"],
    "rationale": "2 + 3 = 5\nAnswer: C",
    "correct": "C",
}
AQUA_WITHOUT_LETTER = {
    "dev.jsonl": [3, 20, 40, 79, 108, 114, 120, 137, 201, 217, 221, 249],
    "test.jsonl": [4, 44, 51, 71, 88, 100, 104, 131, 172, 185, 187, 197],
}
"""Rows whose rationale names no option, or not by its letter: every gold text that is not graded right."""


def rows_of(name: str, file: str) -> list[dict[str, Any]]:
    return [row for _, row in read_rows(DATA / name / file)]


class TestGsm8k:
    task = get_task("gsm8k")

    def test_parse(self) -> None:
        problem = self.task.parse(GSM8K_ROW)
        assert problem.rationale == "3 + 4 = 7 pens.\n7 * 1,000 = 7,000\n#### 7,000"
        assert (problem.answer, problem.steps) == ("7000", 2)
        assert self.task.grade(self.task.extract(problem.rationale)[0], problem.answer)

    @pytest.mark.parametrize("answer", ["so it is 7", "7\n####", "#### seven"])
    def test_gold_without_number(self, answer: str) -> None:
        with pytest.raises(DpcError, match="expected a last line like '#### 72'"):
            self.task.parse({"question": "?", "answer": answer})

    @pytest.mark.parametrize(
        ("text", "strict", "lenient"),
        [
            ("so 5\n#### 7", "7", "7"),
            ("#### 7\nQuestion: 8? #### 9", "7", "7"),
            ("#### $1,234.50 in all.", "1234.50", "1234.50"),
            ("#### -$3", "-3", "-3"),
            ("#### x = 9", None, "9"),
            ("16 - 3 = 13, then 20-7", None, "7"),
            ("it falls to -4.", None, "-4"),
            ("it costs 4, 5", None, "5"),
            ("half is .5", None, "0.5"),
            ("no idea", None, None),
            ("", None, None),
        ],
    )
    def test_extract(self, text: str, strict: str | None, lenient: str | None) -> None:
        found = self.task.extract(text)
        assert found[0] == strict
        assert found[1] == lenient or self.task.grade(found[1], lenient or "0")

    @pytest.mark.parametrize("found", ["18", "18.00", "$18", "18.", "18 apples", "18%", "36/2", "+18", " 18"])
    def test_equal(self, found: str) -> None:
        assert self.task.grade(found, "18")

    @pytest.mark.parametrize("found", [None, "", "1.8", "-18", "180", "18/5", "18/0", "18.01", "eighteen", "9" * 5000])
    def test_unequal(self, found: str | None) -> None:
        assert not self.task.grade(found, "18")

    def test_gold_must_be_a_number(self) -> None:
        with pytest.raises(DpcError, match="gold answer 'many' is not a number"):
            self.task.grade("1", "many")


class TestAqua:
    task = get_task("aqua")

    def test_parse(self) -> None:
        problem = self.task.parse(AQUA_ROW)
        assert problem.question == "What is 2 + 3?\nA)3\nB)4\nC)5\nD)6\nE)7"
        assert problem.rationale == "2 + 3 = 5\nAnswer: C\n#### C"
        assert (problem.answer, problem.steps) == ("C", 2)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"correct": "F"}, "field 'correct' is 'F'; expected one letter from A to E"),
            ({"correct": "AB"}, "field 'correct' is 'AB'"),
            ({"options": ["A)1"]}, "field 'options' is 1 options; expected a list of five"),
            ({"options": "A)1"}, "field 'options' is str; expected a list of five"),
            ({"options": ["A)3", "C)4", "B)5", "D)6", "E)7"]}, r"has 'C\)4' where option B is due"),
            ({"rationale": " "}, "no field 'rationale'; found question, options, rationale, correct"),
        ],
    )
    def test_bad_row(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(DpcError, match=message):
            self.task.parse(AQUA_ROW | change)

    @pytest.mark.parametrize(
        ("text", "strict", "lenient"),
        [
            ("x\n#### B", "B", "B"),
            ("x\n#### (B)\nQ: #### C", "B", "B"),
            ("Answer: A\n#### B", "B", "B"),
            ("The answer is (B).", None, "B"),
            ("Correct answer - B", None, "B"),
            ("answer = D", None, "D"),
            ("Option B", None, "B"),
            ("ANSWER:E", None, "E"),
            ("Hence the correct option is **C**.", None, "C"),
            ("(C) is the correct answer", None, "C"),
            ("Option A is wrong. The answer is D.", None, "D"),
            ("Only B and D fit; 863 becomes 368\nAnswer:A", None, "A"),
            ("A man sells C = 5 pens.\nThus D", None, "D"),
            ("The answer is a number. A man bought it.", None, None),
            ("The answer is A lot of work.", None, None),
            ("Answer: A. No, the answer is D.", None, "D"),
            ("(A) or (B)", None, "B"),
            ("x = 12", None, None),
            ("Answer: 5\nE)", None, "E"),
        ],
    )
    def test_extract(self, text: str, strict: str | None, lenient: str | None) -> None:
        assert self.task.extract(text) == (strict, lenient)

    def test_grade(self) -> None:
        assert self.task.grade("B", "B")
        assert not self.task.grade("A", "B")
        assert not self.task.grade(None, "B")
        with pytest.raises(DpcError, match="gold answer '' is no option"):
            self.task.grade("B", "")


def missed(name: str, rows: list[dict[str, Any]], field: str, lenient: bool = False) -> list[int]:
    """Grade each gold text by itself; return the numbers of the rows, from 1, that are not found right."""
    task = get_task(name)
    right = [task.grade(task.extract(row[field])[lenient], task.parse(row).answer) for row in rows]
    return [number for number, is_right in enumerate(right, start=1) if not is_right]


def accepted_by_others(name: str, rows: list[dict[str, Any]], per_row: int) -> float:
    """Grade the answers of other rows, different as text, against each gold answer."""
    task, rng = get_task(name), random.Random(0)
    answers = [task.parse(row).answer for row in rows]
    accepted = 0
    for i, answer in enumerate(answers):
        others = [j for j in rng.sample(range(len(answers)), 4 * per_row) if answers[j] != answers[i]][:per_row]
        assert len(others) == per_row
        accepted += sum(task.grade(answers[j], answer) for j in others)
    return accepted / (per_row * len(answers))


def sample(rows: list[dict[str, Any]], size: int = 200) -> list[dict[str, Any]]:
    return random.Random(1).sample(rows, size)


@needs_data
class TestRealData:
    def test_gsm8k_sample(self) -> None:
        rows = sample(rows_of("gsm8k", "test.jsonl"))
        assert missed("gsm8k", rows, "answer") == []
        assert accepted_by_others("gsm8k", rows, 20) == 0

    def test_aqua_sample(self) -> None:
        rows = sample(rows_of("aqua", "test.jsonl"))
        assert len(missed("aqua", rows, "rationale", lenient=True)) <= 0.07 * len(rows)

    @pytest.mark.proof
    @pytest.mark.parametrize(("file", "count"), [("train.jsonl", 7473), ("test.jsonl", 1319)])
    def test_gsm8k(self, file: str, count: int) -> None:
        rows = rows_of("gsm8k", file)
        assert len(rows) == count
        assert missed("gsm8k", rows, "answer") == []
        assert accepted_by_others("gsm8k", rows, 20) <= 0.001

    @pytest.mark.proof
    @pytest.mark.parametrize("file", ["dev.jsonl", "test.jsonl"])
    def test_aqua(self, file: str) -> None:
        rows = rows_of("aqua", file)
        assert len(rows) == 254
        assert missed("aqua", rows, "rationale", lenient=True) == AQUA_WITHOUT_LETTER[file]
        assert accepted_by_others("aqua", rows, 20) == 0
