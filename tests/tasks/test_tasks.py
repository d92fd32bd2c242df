"""Extraction and grading of the benchmarks."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks import math as math_task
from dpc.tasks.rows import read_rows

DATA = Path(os.environ.get("DPC_DATA", Path(__file__).resolve().parents[2] / "shared/data"))
needs_data = pytest.mark.skipif(not (DATA / "math/test.jsonl").exists(), reason="the benchmark files are not here")

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
MATH_ROW = {"problem": "Half of one?", "solution": r"First $\boxed{x}$. Then $\boxed{\frac{1}{2}}$."}


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
            ({"options": "A)1"}, r"field 'options' is text \('A\)1'\); expected a list of five"),
            ({"options": ["A)3", "C)4", "B)5", "D)6", "E)7"]}, r"has 'C\)4' where option B is due"),
            ({"rationale": " "}, "field 'rationale' is empty; expected text, such as '2 "),
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


EQUAL = [
    *((r"\frac{1}{2}", half) for half in ("0.5", ".5", "1/2", r"\frac12", r"\dfrac 1 2")),
    (r"\frac{1}{3}", "0.333333"),
    ("x=5", "5"),
    ("5", "x = 5"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{east}", "East"),
    (r"\text{(B)}", "B"),
    (r"\text{1:03 PM}", "1:03 PM"),
    ("1,2", "2, 1"),
    ("(1,2)", "1, 2"),
    ("(2,1)", "2, 1"),
    (r"10,\!000", "10000"),
    (r"\$15,\!000", "15,000"),
    (r"30^\circ", "30"),
    (r"50\%", "50"),
    *((gold, gold[:2]) for gold in (r"18\text{ ways.}", r"25 \, \text{km}", r"45 \text{ units}^2", "45 km")),
    ("2x+y=3", "4x+2y=6"),
    ("y=2x+3", "2x-y+3=0"),
    ("x^2+2x+1", "(x+1)^2"),
    (r"12\text{ and }13", "12, 13"),
    (r"7, -2, \text{ and } -5", "-5,-2,7"),
    (r"\begin{pmatrix} 1/2 \\ 1 \end{pmatrix}", r"\begin{pmatrix}\frac12\\1\end{pmatrix}"),
    (r"\left( -\infty, -\frac{6}{7} \right) \cup (1,2)", r"(-\infty,-6/7)\cup(1,2)"),
    (r"1+\frac{1}{e}", r"\frac{e+1}{e}"),
    ("3-2i", "-2i+3"),
    ("11011_2", "11011"),
    ("27", "27_{10}"),
    ("5", "f(x)=5"),
]
UNEQUAL = [
    ("3x-y+13=0", "3x+4y+14=0"),
    ("1-1/e", "1+1/e"),
    (r"1-\frac{1}{e}", r"1+\frac{1}{e}"),
    ("11_2", "11_3"),
    ("11", "11_3"),
    ("0", "5x-7y+11z+4=0"),
    ("x+y=0", "0"),
    ("(1,2)", "2,1"),
    ("(1,2)", "(2,1)"),
    ("(5,3)", "(7,2)"),
    ("(0,1)", "[0,1]"),
    ("4t", "4"),
    ("x+1", "y+1"),
    ("x=1", "y=1"),
    ("x=1,y=2", "x=2,y=1"),
    ("x<3", "x>3"),
    ("y=2x", "y=3x"),
    (r"50\%", "0.5"),
    ("7", "7,8"),
    ("1,000", "1"),
    (r"\text{odd}", r"\text{even}"),
    (r"\text{A,C,F}", r"\text{A,C,E}"),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}2\\1\end{pmatrix}"),
    ("5", "-5"),
    ("x=3", r"x \in \{3,4\}"),
    *(("1", odd) for odd in ("10^{10^{10}}", "99999!", "(" * 140, "7" * 5000, r"\frac{", " ", None)),
]


class TestMath:
    task = get_task("math")

    def test_parse(self) -> None:
        problem = self.task.parse(MATH_ROW)
        assert problem.rationale == MATH_ROW["solution"]
        assert (problem.answer, problem.steps) == (r"\frac{1}{2}", 2)

    @pytest.mark.parametrize("solution", ["It is 2.", r"$\boxed{2$", r"$\boxed{}$", r"$\boxed{\,}$", r"$\boxedfoo{2}$"])
    def test_gold_without_box(self, solution: str) -> None:
        with pytest.raises(DpcError, match="boxes no answer"):
            self.task.parse({"problem": "?", "solution": solution})

    @pytest.mark.parametrize(
        ("text", "strict", "lenient"),
        [
            (r"$\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", r"\frac{1}{2}"),
            (r"$\boxed{1}$ and $\boxed{2}$", "2", "2"),
            (r"\fbox{3}", "3", "3"),
            (r"$\boxed 12$.", "12", "12"),
            (r"$\boxed{\left\{ 1 \right.}$", r"\left\{ 1 \right.", r"\left\{ 1 \right."),
            (r"so $x = 4$. The answer is $5$.", None, "5"),
            (r"so $x = 4$ holds", None, "x = 4"),
            ("about 3 or 1,400", None, "1,400"),
            ("no idea", None, None),
        ],
    )
    def test_extract(self, text: str, strict: str | None, lenient: str | None) -> None:
        assert self.task.extract(text) == (strict, lenient)

    @pytest.mark.parametrize(("answer", "found"), EQUAL)
    def test_equal(self, answer: str, found: str) -> None:
        assert self.task.grade(found, answer)

    @pytest.mark.parametrize(("answer", "found"), UNEQUAL)
    def test_unequal(self, answer: str, found: str | None) -> None:
        assert not self.task.grade(found, answer)

    @pytest.mark.parametrize(
        ("answer", "found"),
        [
            ("3x-y+13=0", "3x+4y+14=0"),
            ("1-1/e", "1+1/e"),
            ("(3,2)", "(2,3)"),
            ("x+1", "y+1"),
            ("[1,2]", "[1,3]"),
        ],
    )
    def test_unequal_whatever_math_verify_says(self, answer: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("math_verify.verify", lambda *_, **__: True)
        assert not self.task.grade(found, answer)

    def test_disagreement_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, logger="dpc.tasks.math"):
            assert self.task.grade("0.5", r"\frac{1}{2}")
        assert "differ as text, equal to math-verify" in caplog.text

    def test_off_the_main_thread(self) -> None:
        found: list[bool] = []
        thread = threading.Thread(target=lambda: found.append(self.task.grade("2(x+1)", "2x+2")))
        thread.start()
        thread.join()
        assert found == [True]

    @pytest.mark.parametrize(
        "found", ["10^{10^{10}}", "{10}^{{10}^{10}}", "2^{30000}", "(99999!)", "((9!)!)!", "x" * 301]
    )
    def test_costly_is_refused_beforehand(self, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(math_task, "_symbolically_equal", lambda *_: True)
        assert self.task.grade(r"e^{2x^2}+10!", "1")
        assert not self.task.grade(found, "1")

    def test_no_handler_swallows_the_time_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def endless(*_: object, **__: object) -> bool:
            try:
                while True:
                    pass
            except Exception:
                return True

        monkeypatch.setattr(math_task, "_SECONDS", 0.2)
        monkeypatch.setattr("math_verify.verify", endless)
        assert not self.task.grade("2x+2", "2(x+1)")

    @pytest.mark.parametrize("threads", [0, 3])
    def test_too_slow_is_unequal(self, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the main thread, and on several at once."""
        assert self.task.grade("2(x+1)", "2x+2")  # what it imports takes longer than the limit
        monkeypatch.setattr(math_task, "_SECONDS", 0.2)
        found: list[bool] = []

        def work() -> None:
            found.append(self.task.grade(r"\binom{1000000000}{500000000}", "1"))
            found.append(self.task.grade("2(x+1)", "2x+2"))  # the limit of one comparison spares the next

        running = [threading.Thread(target=work) for _ in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join(30)
        if not running:
            work()
        assert sorted(found) == [False] * max(threads, 1) + [True] * max(threads, 1)

    def test_a_limit_raises_nowhere_later(self) -> None:
        """Where time runs out just as the work ends, the exception comes at once or never."""
        for _ in range(200):
            with suppress(math_task._TooLong), math_task._time_limit(0.0005):
                pass
            assert sum(range(2000)) == 1999000
        time.sleep(0.05)
        assert self.task.grade("2(x+1)", "2x+2")

    def test_empty_gold(self) -> None:
        with pytest.raises(DpcError, match="gold answer is empty"):
            self.task.grade("1", " ")


def missed(name: str, rows: list[dict[str, Any]], field: str, lenient: bool = False) -> list[int]:
    """Grade each gold text by itself; return the numbers of the rows, from 1, that are not found right."""
    task = get_task(name)
    right = [task.grade(task.extract(row[field])[lenient], task.parse(row).answer) for row in rows]
    return [number for number, is_right in enumerate(right, start=1) if not is_right]


def accepted_by_others(name: str, rows: list[dict[str, Any]], per_row: int) -> float:
    """Grade the answers of other rows, different as text, against each gold answer."""
    task, rng = get_task(name), random.Random(0)
    answers = [task.parse(row).answer for row in rows]
    plain = [math_task.canonical(answer) if name == "math" else answer for answer in answers]
    accepted = 0
    for i, answer in enumerate(answers):
        others = [j for j in rng.sample(range(len(answers)), 4 * per_row) if plain[j] != plain[i]][:per_row]
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

    def test_math_sample(self) -> None:
        rows = sample(rows_of("math", "test.jsonl"))
        assert missed("math", rows, "solution") == []
        assert accepted_by_others("math", rows, 2) <= 0.01

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

    @pytest.mark.proof
    def test_math(self) -> None:
        rows = rows_of("math", "test.jsonl")
        assert len(rows) == 5000
        assert missed("math", rows, "solution") == []
        assert accepted_by_others("math", rows, 20) <= 0.001
        parsed = [get_task("math").parse(row) for row in rows]
        assert sum(problem.steps == 1 for problem in parsed) == 420  # 1,573 if only `. ` ended a step
