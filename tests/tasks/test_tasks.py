"""Extraction and grading of MATH."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

import pytest

from dpc.errors import DpcError
from dpc.tasks import get_task
from dpc.tasks import math as math_task
from tests.support.gold_rows import accepted_by_others, missed, needs_data, rows_of, sample

MATH_ROW = {"problem": "Half of one?", "solution": r"First $\boxed{x}$. Then $\boxed{\frac{1}{2}}$."}


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


@needs_data
class TestRealData:
    def test_math_sample(self) -> None:
        rows = sample(rows_of("math", "test.jsonl"))
        assert missed("math", rows, "solution") == []
        assert accepted_by_others("math", rows, 2, math_task.canonical) <= 0.01

    @pytest.mark.proof
    def test_math(self) -> None:
        rows = rows_of("math", "test.jsonl")
        assert len(rows) == 5000
        assert missed("math", rows, "solution") == []
        assert accepted_by_others("math", rows, 20, math_task.canonical) <= 0.001
        parsed = [get_task("math").parse(row) for row in rows]
        assert sum(problem.steps == 1 for problem in parsed) == 420  # 1,573 if only `. ` ended a step
